"""Values of properties as text that equal values have in common: their tokens.

ClickHouse works out the same ones (`services/query/clickhouse/events.py`); a test holds the two
together. Numbers are equal as doubles, text by its first 200 characters. Lists and objects count as
not set.
"""

import json
import struct
from collections.abc import Iterable
from typing import Any, Final

_LONGEST: Final = 200
_EXACT: Final = 2**53  # whole doubles below it are written as such


def token(value: Any) -> str:
    """A value as text that equal values have in common; empty if it is not set."""
    match value:
        case str():
            return f"s{value[:_LONGEST]}"
        case bool():
            return "t" if value else "f"
        case int() | float():
            return f"n{struct.pack('>d', value + 0.0).hex()}"
    return ""


def tokens_of(values: Iterable[Any]) -> tuple[str, ...]:
    """The tokens of some values."""
    return tuple(map(token, values))


def to_json(value: str) -> str:
    """The value that a token stands for, as JSON."""
    match value[:1]:
        case "t":
            return "true"
        case "f":
            return "false"
        case "n":
            (number,) = struct.unpack(">d", bytes.fromhex(value[1:]))
            whole = number.is_integer() and abs(number) < _EXACT
            return json.dumps(int(number) if whole else number)
        case "s":
            return json.dumps(value[1:], ensure_ascii=False)
    return "null"
