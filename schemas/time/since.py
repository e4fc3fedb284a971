"""From when on events count for a definition that does not go back to the first one."""

from typing import Annotated, Final

from msgspec import Meta

from schemas.errors import InvalidRequest
from schemas.time.rfc3339 import read_time

ALL_TIME: Final = -(2**62)  # nothing is before it
_EARLIEST: Final = "1970-01-01"
_LATEST: Final = "2200-01-01"

# A time as conditions have them: `2026-11-22`, or `2026-11-22T10:00:00.000Z`.
Since = Annotated[str, Meta(max_length=64)]


def since_ms(since: str | None) -> int:
    """The first moment that counts (ms since 1970); `ALL_TIME` if all do.

    Raises:
        InvalidRequest: it is no such time.
    """
    if since is None:
        return ALL_TIME
    moment = read_time(since)
    if moment is None or not _BOUNDS[0] <= moment < _BOUNDS[1]:
        raise InvalidRequest(
            f"accepted are times from {_EARLIEST} to {_LATEST}: 2026-11-22 and "
            "2026-11-22T10:00:00.000Z, or with an offset such as +01:00 in place of the Z",
            "since",
        )
    return moment


_BOUNDS: Final = read_time(_EARLIEST) or 0, read_time(_LATEST) or 0
