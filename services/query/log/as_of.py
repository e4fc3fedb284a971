"""The parameter `as_of`: which prefix of the log a figure is asked over. Pure."""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec
from starlette.requests import Request

from schemas.errors import InvalidRequest
from schemas.time.rfc3339 import read_time

# Positions by partition, or a time (ms): that before which events were appended.
AsOf: TypeAlias = Mapping[int, int] | int

_MAX_CHARS: Final = 50_000
_MAX_OFFSET: Final = 2**63 - 1
_POSITIONS: Final = re.compile(r"\d{1,6}:\d{1,19}(,\d{1,6}:\d{1,19})*", re.ASCII)
_decoder: Final = msgspec.json.Decoder(dict[int, int])

ACCEPTED: Final = (
    "accepted are positions by partition, as `0:120,1:98` or as answers have them, or a time, as "
    "2026-11-22T10:00:00Z"
)


def read_as_of(request: Request, name: str = "as_of") -> AsOf | None:
    """Read positions or a time from the query parameters; None if there are none.

    Raises:
        InvalidRequest: it is neither.
    """
    text = request.query_params.get(name)
    return None if text is None else parse(text, name)


def parse(text: str, name: str = "as_of") -> AsOf:
    """Read positions or a time.

    Raises:
        InvalidRequest: it is neither.
    """
    if len(text) <= _MAX_CHARS:
        positions = _positions(text)
        if positions is not None:
            return positions
        at = read_time(text)
        if at is not None and at >= 0:
            return at
    raise InvalidRequest(ACCEPTED, name)


def _positions(text: str) -> dict[int, int] | None:
    found: dict[int, int] = {}
    if _POSITIONS.fullmatch(text):
        split = (pair.partition(":") for pair in text.split(","))
        pairs = [(int(number), int(offset)) for number, _, offset in split]
        found = dict(pairs)
        if len(found) < len(pairs):
            return None
    elif text.startswith("{"):
        try:
            found = _decoder.decode(text)
        except msgspec.DecodeError:
            return None
    else:
        return None
    valid = all(number >= 0 and 0 <= offset <= _MAX_OFFSET for number, offset in found.items())
    return found if valid else None


def text_of(positions: Mapping[int, int]) -> str:
    """Return positions as the parameter has them."""
    return ",".join(f"{number}:{offset}" for number, offset in sorted(positions.items()))
