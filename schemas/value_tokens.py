"""Tokens of property values: texts that are equal exactly if the values count as equal.

ClickHouse computes the same tokens (`services/query/clickhouse/events.py`); a test compares them.

- `token` is for figures by value, which are published with their values. Numbers are compared
  exactly (whole ones beyond 64 bits as doubles, which is how ClickHouse stores them) and text as a
  whole; lists count as not set. A text of more than 200 characters is shown as its first 200, `…`,
  and 16 digits of its digest. No other text is shown like that, for one of that length would be
  shortened, too.
- `whole_token` is for values that have to be the same: as `token`, but text is not shortened, and
  lists are compared as a whole. The tokens of lists are others in ClickHouse, but equal if these
  are.

Objects count as not set.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable
from typing import Any, Final

MAX_CHARS: Final = 200  # of a text that is shown as it is
DIGEST_BYTES: Final = 8
_EXACT: Final = 2**53  # whole doubles below it are written without a fraction
_MAX_INT: Final = 2**63


def token(value: Any) -> str:
    """Return the token of a value for figures by value; empty if it counts as not set."""
    match value:
        case str():
            return f"s{_shown(value)}"
        case bool():
            return "t" if value else "f"
        case int() if -_MAX_INT <= value < 2 * _MAX_INT and int(float(value)) != value:
            return f"i{value}"  # no double is that number
        case int() | float():
            return f"n{struct.pack('>d', _double(value) + 0.0).hex()}"
    return ""


def whole_token(value: Any) -> str:
    """Return the token of a value that is compared as a whole; empty if it counts as not set."""
    match value:
        case str():
            return f"s{value}"
        case list():
            try:
                return f"a{json.dumps(_comparable(value), ensure_ascii=False, sort_keys=True)}"
            except RecursionError:
                return "a"  # nested too deeply for ClickHouse, too
    return token(value)


def _double(value: float) -> float:
    """Return the nearest double, which is infinite for a number beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _comparable(value: Any) -> Any:
    """Return what a list contains, such that equal values are written alike."""
    match value:
        case list():
            if any(isinstance(one, float) for one in value):  # all its numbers are stored as such
                value = [_double(one) if type(one) is int else one for one in value]
            return [_comparable(one) for one in value]
        case dict():
            return {key: _comparable(of) for key, of in value.items() if of is not None}
        case float() if value.is_integer() and abs(value) < _MAX_INT:
            return int(value)
    return value


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
        case "i":
            return value[1:]
    return "null"


def token_of_json(shown: str) -> str:
    """Return the token of a value that `to_json` has written, in this version or an earlier one."""
    value = json.loads(shown)
    return f"s{value}" if isinstance(value, str) else token(value)


def _shown(text: str) -> str:
    """Return a text as it is shown: the same for equal texts, another for others."""
    if len(text) <= MAX_CHARS:
        return text
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()[:DIGEST_BYTES]
    return f"{text[:MAX_CHARS]}…{digest.hex()}"
