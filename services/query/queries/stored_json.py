"""JSON as the event store has it, read as it was sent."""

import json
import math
from typing import Any, NoReturn

from schemas.properties import MAX_INT, MIN_INT, sent_name


def read_stored(text: str) -> Any:
    """Return what a text of JSON says; the text itself, if it says nothing that can be shown.

    Integers of more than 64 bits are the nearest floats. Half of a surrogate pair, which JSON can
    escape and UTF-8 does not have, is U+FFFD.
    """
    try:
        return _as_sent(
            json.loads(text, parse_constant=_refuse, parse_int=_integer, parse_float=_finite)
        )
    except (ValueError, RecursionError):
        return text


def _as_sent(value: Any) -> Any:
    match value:
        case dict():
            return {_encodable(sent_name(key)): _as_sent(of) for key, of in value.items()}
        case list():
            return [_as_sent(one) for one in value]
        case str():
            return _encodable(value)
    return value


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _integer(digits: str) -> int | float:
    try:
        number = int(digits)
    except ValueError:  # Python reads up to 4,300 digits
        return _finite(digits)
    return number if MIN_INT <= number <= MAX_INT else _finite(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
