"""Values of properties told apart: as text, and in 64 bits, the same as ClickHouse works them out.

The twin of `services/query/events_sql.py`, which says the same in SQL; a test holds the two
together. Numbers are equal as doubles, text by its first 200 characters. Lists and objects count as
not set.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from typing import Any, Final

_LONGEST: Final = 200
_EXACT: Final = 2**53  # whole doubles below it are written as such


def token(value: Any) -> str:
    """A value as text that equal values have in common; empty if it is not set."""
    match value:
        case bool():
            return "t" if value else "f"
        case int() | float():
            return f"n{struct.pack('>d', value + 0.0).hex()}"
        case str():
            return f"s{value[:_LONGEST]}"
    return ""


def fingerprint(values: Iterable[Any]) -> int:
    """The same 64 bits for equal values, in their order."""
    digests = "".join(_md5(token(value)).hexdigest().upper() for value in values)
    return int.from_bytes(_md5(digests).digest()[:8], "little")


def _md5(text: str) -> "hashlib._Hash":
    return hashlib.md5(text.encode(), usedforsecurity=False)


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
