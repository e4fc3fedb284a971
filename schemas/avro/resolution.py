"""Schema resolution: whether a reader's schema can read what was written with another.

It follows the Avro specification as Avro's Java library, and therefore Confluent's registry, do. It
is stricter in one respect: a time written in one unit cannot be read in another. Avro would return
the bare number, a thousand times too large or too small.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from schemas.avro.schema import Schema, Tree, kind, resolved

Compatibility = Literal[
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
]
COMPATIBILITIES: Final[tuple[Compatibility, ...]] = get_args(Compatibility)

_PROMOTIONS: Final = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "bytes": {"string"},
    "string": {"bytes"},
}


class Problem(NamedTuple):
    """A reason why a reader's schema cannot read a writer's; `str` gives it in one line.

    `wrong_unit`: the numbers could be read, but would have another meaning.
    """

    path: str
    text: str
    wrong_unit: bool = False

    def __str__(self) -> str:
        return f"{self.path or 'the schema'}: {self.text}"


def unreadable(reader: Schema, writer: Schema) -> list[Problem]:
    """Return why `reader` cannot read everything that `writer` can write; empty if it can."""
    return list(_Resolution(reader.named, writer.named).differences(reader.tree, writer.tree, ""))


def incompatible(level: Compatibility, new: Schema, earlier: Sequence[Schema]) -> list[str]:
    """Return why `new` cannot follow `earlier` (oldest first) at `level`; empty if it can.

    BACKWARD: the new schema can read earlier values; FORWARD: the earlier one can read new values;
    FULL: both. `new` is compared with the latest of `earlier`, with `…_TRANSITIVE` with all.
    """
    compared = earlier if level.endswith("_TRANSITIVE") else earlier[-1:]
    problems: list[str] = []
    for old in compared:
        if level.startswith(("BACKWARD", "FULL")):
            problems += [f"new cannot read old: {text}" for text in unreadable(new, old)]
        if level.startswith(("FORWARD", "FULL")):
            problems += [f"old cannot read new: {text}" for text in unreadable(old, new)]
    return list(dict.fromkeys(problems))


class _Resolution:
    def __init__(self, reader_named: dict[str, Tree], writer_named: dict[str, Tree]) -> None:
        self._reader_named = reader_named
        self._writer_named = writer_named
        self._open: set[tuple[str, str]] = set()

    def differences(self, reader: Tree, writer: Tree, path: str) -> Iterator[Problem]:
        reader = resolved(reader, self._reader_named)
        writer = resolved(writer, self._writer_named)
        read, written = kind(reader), kind(writer)
        if written == "union":
            for branch in writer:
                yield from self.differences(reader, branch, path)
        elif read == "union":
            yield from self._any_branch(reader, writer, path)
        elif read != written:
            if written not in _PROMOTIONS.get(read, ()):
                yield Problem(path, f"{_named(writer)} cannot be read as {_named(reader)}")
        elif read in {"record", "enum", "fixed"}:
            yield from self._named_type(reader, writer, path)
        elif read == "array":
            yield from self.differences(reader["items"], writer["items"], f"{path}[]")
        elif read == "map":
            yield from self.differences(reader["values"], writer["values"], f"{path}{{}}")
        else:
            yield from _units(reader, writer, path)

    def _any_branch(self, reader: Tree, writer: Tree, path: str) -> Iterator[Problem]:
        alike: list[Problem] = []
        for branch in reader:
            problems = list(self.differences(branch, writer, path))
            if not problems:
                return
            if kind(resolved(branch, self._reader_named)) == kind(writer):
                alike = alike or problems
        if alike:
            yield from alike
        else:
            yield Problem(path, f"{_named(writer)} is none of the union's branches")

    def _named_type(self, reader: Tree, writer: Tree, path: str) -> Iterator[Problem]:
        if not same_name(reader, writer):
            yield Problem(path, f"{writer['name']} is neither named nor aliased {reader['name']}")
        elif kind(reader) == "fixed":
            if reader["size"] != writer["size"]:
                yield Problem(
                    path, f"{writer['size']} bytes cannot be read as {reader['size']} bytes"
                )
        elif kind(reader) == "enum":
            unknown = [name for name in writer["symbols"] if name not in reader["symbols"]]
            if unknown and reader.get("default") not in reader["symbols"]:
                yield Problem(
                    path, f"{', '.join(unknown)} are not symbols, and there is no default"
                )
        elif (pair := (reader["name"], writer["name"])) not in self._open:
            # A recursive type is compatible if all its other parts are.
            self._open.add(pair)
            yield from self._fields(reader, writer, path)
            self._open.discard(pair)

    def _fields(self, reader: Tree, writer: Tree, path: str) -> Iterator[Problem]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            inside = f"{path}.{field['name']}" if path else field["name"]
            source = next((written[n] for n in field_names(field) if n in written), None)
            if source is not None:
                yield from self.differences(field["type"], source["type"], inside)
            elif "default" not in field:
                yield Problem(inside, "not written, and without a default")


def field_names(field: Tree) -> list[str]:
    """Return the names that a reader's field can have in a writer: its own, then its aliases."""
    return [field["name"], *field.get("aliases", ())]


def same_name(reader: Tree, writer: Tree) -> bool:
    """Return whether two named types match: by unqualified name, or by an alias of the reader."""
    space, _, name = reader["name"].rpartition(".")
    aliases = {
        alias if "." in alias or not space else f"{space}.{alias}"
        for alias in reader.get("aliases", ())
    }
    return name == writer["name"].rpartition(".")[2] or writer["name"] in aliases


def _units(reader: Tree, writer: Tree, path: str) -> Iterator[Problem]:
    written, read = (
        tree.get("logicalType", "") if isinstance(tree, dict) else "" for tree in (writer, reader)
    )
    if written != read and "time" in written and "time" in read:
        yield Problem(path, f"{written} cannot be read as {read}", wrong_unit=True)


def _named(tree: Tree) -> str:
    if isinstance(tree, dict) and "name" in tree:
        return f"{tree['type']} {tree['name']}"
    return kind(tree)
