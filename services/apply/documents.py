"""Read definitions from YAML or JSON files, each with its place for messages."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec
import yaml

from schemas.errors import InvalidRequest

MAX_FILE_BYTES: Final = 10_000_000
MAX_DOCUMENTS: Final = 2_000
# Of all values of a file with its aliases expanded: their characters, and ten for each value.
MAX_EXPANDED: Final = 20_000_000


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
    shown = "standard input" if name == "-" else name
    text = standard_input if name == "-" else _read(name)
    constructor = _Constructor(shown)
    try:
        for number, node in enumerate(yaml.compose_all(text, _Loader), 1):
            if node.tag == "tag:yaml.org,2002:null":
                continue
            line = node.start_mark.line + 1
            fields = constructor.build(node)
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


def read_standard_input() -> str:
    """Read standard input to its end.

    Raises:
        InvalidRequest: it is too large, or is not UTF-8.
    """
    return _read_text(sys.stdin.buffer, "standard input")


def _read(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            return _read_text(file, name)
    except OSError as error:
        raise InvalidRequest(f"{name}: cannot be read: {error.strerror}") from None


def _read_text(file: IO[bytes], name: str) -> str:
    # Pipes and devices do not say how long they are.
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(f"{name}: accepted are at most {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}: is not UTF-8") from None


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of JSON: dates, `yes`, `no`, `on`, `off`, 0123 and 1:30 are text."""


_TAG: Final = "tag:yaml.org,2002:"
_BOOLS: Final = {"true": True, "false": False}
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == f"{_TAG}null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|false)\Z"), list("tf"))
_Loader.add_implicit_resolver(f"{_TAG}float", _NUMBER, list("-0123456789"))


class _Constructor:
    """Builds values of nodes; a repeated field is an error: one of the two would be lost."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._expanded = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        """Return the value of a node."""
        if id(node) in self._open:
            raise InvalidRequest(f"{self._line(node)}: must not contain itself")
        self._expanded += 10 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self._expanded > MAX_EXPANDED:
            raise InvalidRequest(f"{self._line(node)}: it is too large with its aliases expanded")
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
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> str | float | None:
        text = self._text(node)
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool" if text in _BOOLS:
                return _BOOLS[text]
            case "int" | "float" if _NUMBER.match(text):
                try:
                    number: float = msgspec.json.decode(text)
                except msgspec.DecodeError:
                    raise InvalidRequest(f"{self._line(node)}: the number is too large") from None
                return number
        accepted = "accepted are text, numbers as in JSON, true, false and null"
        raise InvalidRequest(f"{self._line(node)}: {accepted}")

    def _text(self, node: yaml.Node) -> str:
        """Return the text of a scalar, which must be one that UTF-8 can encode."""
        text = str(node.value)
        if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
            raise InvalidRequest(f"{self._line(node)}: \\ud800 to \\udfff are half a character")
        return text

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value
            if not isinstance(name, str):
                raise InvalidRequest(f"{self._line(key)}: the name of a field must be text")
            self._text(key)
            if name in fields:
                raise InvalidRequest(f"{self._line(key)}: the field {name} is given twice")
            fields[name] = self.build(value)
        return fields

    def _line(self, node: yaml.Node) -> str:
        return f"{self._file}, line {node.start_mark.line + 1}"
