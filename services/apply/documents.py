"""Read definitions from YAML or JSON files, each with its place for messages."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from schemas.errors import InvalidRequest

MAX_FILE_BYTES: Final = 10_000_000
MAX_DOCUMENTS: Final = 2_000


class Document(NamedTuple):
    """A document of a file; `number` counts from 1, `line` is the one where it begins."""

    file: str
    number: int
    line: int
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.file}, document {self.number} (line {self.line})"


def read_documents(files: Sequence[str], standard_input: str = "") -> list[Document]:
    """Read all documents of files in their order; `-` is standard input.

    Raises:
        InvalidRequest: a file cannot be read, or is not YAML; names it and the line.
    """
    found = [one for name in files for one in _documents(name, standard_input)]
    if not found:
        raise InvalidRequest(f"{', '.join(files)}: there is no definition")
    if len(found) > MAX_DOCUMENTS:
        raise InvalidRequest(f"{len(found)} documents; accepted are at most {MAX_DOCUMENTS}")
    return found


def _documents(name: str, standard_input: str) -> Iterator[Document]:
    text = standard_input if name == "-" else _read(name)
    shown = "standard input" if name == "-" else name
    try:
        for number, node in enumerate(yaml.compose_all(text, _Loader), 1):
            if node.tag == "tag:yaml.org,2002:null":
                continue
            line = node.start_mark.line + 1
            fields = _Constructor(shown).build(node)
            if not isinstance(fields, dict):
                place = f"{shown}, document {number} (line {line})"
                raise InvalidRequest(f"{place}: must be a mapping of fields")
            yield Document(shown, number, line, fields)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidRequest(f"{shown}{line}: {error.problem or 'is not YAML'}") from None
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{shown}: is not YAML: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{shown}: is nested too deeply") from None


def _read(name: str) -> str:
    path = Path(name)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{name}: accepted are at most {MAX_FILE_BYTES} bytes")
        return path.read_text("utf-8")
    except OSError as error:
        raise InvalidRequest(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}: is not UTF-8") from None


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of JSON: dates are text, and so are `yes`, `no`, `on` and `off`."""


_OWN_SCALARS: Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN_SCALARS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BOOLS: Final = {"true": True, "false": False}


class _Constructor:
    """Builds values of nodes; a repeated field is an error: one of the two would be lost."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._scalars = _Loader("")
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        """Return the value of a node."""
        if id(node) in self._open:
            raise InvalidRequest(f"{self._line(node)}: must not contain itself")
        self._open.add(id(node))
        try:
            return self._built(node)
        finally:
            self._open.discard(id(node))

    def _built(self, node: yaml.Node) -> Any:
        match node:
            case yaml.MappingNode():
                return self._mapping(node)
            case yaml.SequenceNode():
                return [self.build(one) for one in node.value]
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if is_plain and node.tag == "tag:yaml.org,2002:str":
            return _BOOLS.get(node.value, node.value)
        return self._scalars.construct_object(node)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value
            if not isinstance(name, str):
                raise InvalidRequest(f"{self._line(key)}: the name of a field must be text")
            if name in fields:
                raise InvalidRequest(f"{self._line(key)}: the field {name} is given twice")
            fields[name] = self.build(value)
        return fields

    def _line(self, node: yaml.Node) -> str:
        return f"{self._file}, line {node.start_mark.line + 1}"
