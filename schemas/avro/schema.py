"""Avro schemas, parsed once into the forms that the codec needs.

Logical types are ignored: on the wire and in Arrow a `timestamp-millis` is its `long`. A time is
therefore an int64 column of milliseconds, which NumPy reads without a copy.
"""

import json
import re
from functools import cached_property
from typing import Any, Final

import fastavro
import pyarrow as pa
import pyruhvro
from fastavro.schema import SchemaParseException, UnknownType

from schemas.avro.arrow_without_pandas import let_arrow_find_no_pandas
from schemas.errors import InvalidRequest

let_arrow_find_no_pandas()

# A schema in JSON: a name, a list (a union) or an object.
Tree = Any

PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)
_BULK_PRIMITIVES: Final = PRIMITIVES - {"null", "bytes"}


class Schema:
    """An Avro schema; two are equal exactly if they are for a Confluent Schema Registry.

    Attributes:
        text: the JSON as Confluent's registry stores it: compact, with attributes in fixed order.
        tree: the schema as nested lists and dicts with full names; `named` has its named types.
        plain: `tree` without logical types; `plain_named` has its named types.
        plain_text: `plain` as JSON.

    Raises:
        InvalidRequest: the text is not JSON or not an Avro schema.
    """

    def __init__(self, text: str) -> None:
        self.named: dict[str, Tree] = {}
        self.plain_named: dict[str, Tree] = {}
        try:
            tree = json.loads(text)
            plain = _without_logical_types(tree)
            self.tree: Tree = fastavro.parse_schema(tree, self.named, _write_hint=False)
            self.plain: Tree = fastavro.parse_schema(plain, self.plain_named, _write_hint=False)
            self.plain_text = json.dumps(plain)
            self.text = json.dumps(_printed(tree, ""), ensure_ascii=False, separators=(",", ":"))
        except (SchemaParseException, UnknownType, LookupError, TypeError, ValueError) as error:
            raise InvalidRequest(f"not an Avro schema: {error!r}", "schema") from error
        except RecursionError as error:
            raise InvalidRequest("not an Avro schema: nested too deeply", "schema") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Schema({self.text!r})"

    @cached_property
    def normalized(self) -> "Schema":
        """The schema with attributes that are not part of Avro in alphabetical order."""
        return Schema(json.dumps(json.loads(self.text), sort_keys=True))

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of its rows.

        Raises:
            InvalidRequest: it has no columns: not a record, no fields, recursive, or a field is a
                union of more than null and one type.
        """
        if not _is_columnar(self.plain, self.plain_named):
            raise InvalidRequest(
                "must be a record with at least one field, not recursive, whose unions are of null "
                "and one other type",
                "schema",
            )
        schema: pa.Schema = pyruhvro.avro_to_arrow_schema(self.plain_text)
        return schema

    @cached_property
    def bulk(self) -> bool:
        """Whether pyruhvro can encode and decode it: it panics on `bytes` and `fixed`."""
        try:
            return bool(self.arrow) and _is_bulk(self.plain, self.plain_named)
        except (InvalidRequest, ValueError):
            return False


def branches(tree: Tree) -> list[Tree]:
    """Return the branches of a union; any other type is its only branch."""
    return tree if isinstance(tree, list) else [tree]


def kind(tree: Tree) -> str:
    """Return the kind of a type: a primitive, `record`, `enum`, …, `union`, or a full name."""
    if isinstance(tree, list):
        return "union"
    return str(tree["type"] if isinstance(tree, dict) else tree)


def resolved(tree: Tree, named: dict[str, Tree]) -> Tree:
    """Return the definition that a name refers to; anything else unchanged."""
    while isinstance(tree, str) and tree not in PRIMITIVES:
        tree = named[tree]
    if isinstance(tree, dict) and isinstance(tree["type"], dict | list):
        return resolved(tree["type"], named)
    return tree


def least_bytes(tree: Tree, named: dict[str, Tree], seen: tuple[str, ...] = ()) -> int:
    """Return the fewest bytes of a datum; 0 means that arrays of any length have no bytes."""
    tree = resolved(tree, named)
    match kind(tree):
        case "null":
            return 0
        case "fixed":
            return int(tree["size"])
        case "float":
            return 4
        case "double":
            return 8
        case "record" | "error" if tree["name"] not in seen:
            inside = (*seen, tree["name"])
            return sum(least_bytes(field["type"], named, inside) for field in tree["fields"])
        case _:
            return 1


def _is_columnar(tree: Tree, named: dict[str, Tree], seen: tuple[str, ...] = ()) -> bool:
    tree = resolved(tree, named)
    match kind(tree):
        case "record":
            inside = (*seen, tree["name"])
            return (
                tree["name"] not in seen
                and bool(tree["fields"])
                and all(_is_columnar(field["type"], named, inside) for field in tree["fields"])
            )
        case "array":
            return bool(seen) and _is_columnar(tree["items"], named, seen)
        case "map":
            return bool(seen) and _is_columnar(tree["values"], named, seen)
        case "union":
            others = [branch for branch in tree if branch != "null"]
            return len(others) == 1 < len(tree) and _is_columnar(others[0], named, seen)
        case _:
            return bool(seen)


def _is_bulk(tree: Tree, named: dict[str, Tree]) -> bool:
    tree = resolved(tree, named)
    match kind(tree):
        case "record":
            return all(_is_bulk(field["type"], named) for field in tree["fields"])
        case "array":
            # A few bytes could declare 2^62 items without bytes.
            return least_bytes(tree["items"], named) > 0 and _is_bulk(tree["items"], named)
        case "map":
            return _is_bulk(tree["values"], named)
        case "union":
            return all(branch == "null" or _is_bulk(branch, named) for branch in tree)
        case "enum":
            return True
        case name:
            return name in _BULK_PRIMITIVES


def _without_logical_types(tree: Tree) -> Tree:
    match tree:
        case list():
            return [_without_logical_types(branch) for branch in tree]
        case dict():
            plain = {key: value for key, value in tree.items() if key != "logicalType"}
            for key in ("type", "items", "values"):
                if isinstance(plain.get(key), dict | list):
                    plain[key] = _without_logical_types(plain[key])
            if "fields" in plain:
                plain["fields"] = [_without_logical_types(field) for field in plain["fields"]]
            return plain
        case _:
            return tree


# The attributes that Avro's Java library prints, in its order; all others follow unchanged.
_ORDER: Final = ("type", "name", "namespace", "doc", "fields", "symbols", "size", "items", "values")
_FIELD_ORDER: Final = ("name", "type", "doc", "default", "order", "aliases")


# fastavro accepts any name, Confluent's registry only these.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def _printed(tree: Tree, namespace: str) -> Tree:
    """Return the tree as Avro's Java library prints it, so that both registries store equal texts.

    Raises:
        ValueError, LookupError: a name is invalid, or a record has no fields.
    """
    if isinstance(tree, list):
        return [_printed(branch, namespace) for branch in tree]
    if isinstance(tree, str):
        return _short(tree, namespace)
    if isinstance(tree["type"], dict | list):
        return _printed(tree["type"], namespace)
    if tree.keys() == {"type"} and tree["type"] not in {"record", "enum", "fixed"}:
        return _short(tree["type"], namespace)
    printed = dict(tree)
    inner = namespace
    if "name" in tree:
        space, _, name = tree["name"].rpartition(".")
        inner = space or tree.get("namespace", namespace)
        _check_name(tree["name"])
        printed["name"] = name
        printed.pop("namespace", None)
        if inner != namespace:
            printed["namespace"] = inner
    for key in ("items", "values"):
        if key in printed:
            printed[key] = _printed(tree[key], inner)
    if tree["type"] in {"record", "error"}:
        printed["fields"] = [_printed_field(field, inner) for field in tree["fields"]]
    first = [key for key in _ORDER if key in printed]
    if "symbols" in tree and "default" in tree:
        first.append("default")
    rest = [key for key in printed if key not in first and key != "aliases"]
    last = ["aliases"] if tree.get("aliases") else []
    return {key: printed[key] for key in (*first, *rest, *last)}


def _printed_field(field: Tree, namespace: str) -> Tree:
    _check_name(field["name"])
    printed = dict(field) | {"type": _printed(field["type"], namespace)}
    if printed.get("order") == "ascending":
        del printed["order"]
    if not printed.get("aliases"):
        printed.pop("aliases", None)
    first = [key for key in _FIELD_ORDER if key in printed]
    rest = [key for key in printed if key not in first]
    return {key: printed[key] for key in (*first, *rest)}


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name must be letters, digits and _, and is {name!r}")


def _short(name: str, namespace: str) -> str:
    space, _, short = name.rpartition(".")
    return short if space == namespace else name
