"""Tokens of property values: texts that are equal exactly if the values count as equal.

ClickHouse computes the same tokens (`services/query/clickhouse/events.py`); a test compares them.
Numbers are compared as doubles, text by its first 200 characters. Lists and objects count as not
set.
"""

import json
import struct
from collections.abc import Iterable
from typing import Any, Final

_MAX_CHARS: Final = 200
_EXACT: Final = 2**53  # whole doubles below it are written without a fraction


def token(value: Any) -> str:
    """Return the token of a value; empty if it counts as not set."""
    match value:
        case str():
            return f"s{value[:_MAX_CHARS]}"
        case bool():
            return "t" if value else "f"
        case int() | float():
            return f"n{struct.pack('>d', value + 0.0).hex()}"
    return ""


def tokens_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the tokens of several values."""
    return tuple(map(token, values))


def to_json(value: str) -> str:
    """Return the value of a token as JSON."""
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
