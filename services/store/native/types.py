"""The names of ClickHouse's types, as far as their parts: `Map(String, Array(Int8))`."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    rb"""
      (?P<quoted> '(?: [^'\\]++ | \\. )*+' | `(?: [^`\\]++ | \\. )*+` | "(?: [^"\\]++ | \\. )*+" )
    | (?P<mark>   [(),\x20] )
    | (?P<other>  [^(),\x20'`"]++ )
    """,
    re.VERBOSE | re.DOTALL,
)


class TypeName(NamedTuple):
    """A type: its family, as `Map`, and its arguments, as `String` and `Array(Int8)`."""

    family: bytes
    arguments: list[bytes]


def split_type(name: bytes) -> TypeName:
    """Separate a type's family and its arguments.

    Raises:
        ValueError: `name` is not a type.
    """
    family, bracket, rest = name.partition(b"(")
    if not bracket:
        return TypeName(name, [])
    if not rest.endswith(b")"):
        raise ValueError(f"{name!r} is not a type")
    return TypeName(family, list(_split(rest[:-1], b",")))


def without_name(element: bytes) -> bytes:
    """Return the type in an element of a tuple or a JSON type, as `Int8` of `a.b Int8`."""
    return list(_split(element, b" "))[-1]


def _split(text: bytes, separator: bytes) -> Iterator[bytes]:
    """Yield the parts of `text` between separators that are in no quotes and no brackets."""
    depth = start = end = 0
    for token in _TOKEN.finditer(text):
        if token.start() != end:
            break
        end = token.end()
        if token[0] == b"(":
            depth += 1
        elif token[0] == b")":
            depth -= 1
        elif token[0] == separator and not depth:
            yield text[start : token.start()].strip()
            start = end
    if depth or end != len(text):
        raise ValueError(f"{text!r} has unclosed quotes or brackets")
    if last := text[start:].strip():
        yield last
