"""`since`: the time before which events do not count for a definition."""

from typing import Annotated, Final

from msgspec import Meta

from schemas.errors import InvalidRequest
from schemas.time.rfc3339 import TIME_FORMATS, read_time

ALL_TIME: Final = -(2**62)  # before all events
_EARLIEST: Final = "1970-01-01"
_LATEST: Final = "2200-01-01"

# A time as in conditions: `2026-11-22`, or `2026-11-22T10:00:00.000Z`.
Since = Annotated[str, Meta(max_length=64)]


def since_ms(since: str | None) -> int:
    """Return the first moment whose events count (ms since 1970); `ALL_TIME` for None.

    Raises:
        InvalidRequest: it is not a time, or not one from 1970 to 2200.
    """
    if since is None:
        return ALL_TIME
    moment = read_time(since)
    if moment is None or not _BOUNDS[0] <= moment < _BOUNDS[1]:
        raise InvalidRequest(
            f"must be a time from {_EARLIEST} to {_LATEST}: {TIME_FORMATS}", "since"
        )
    return moment


_BOUNDS: Final = read_time(_EARLIEST) or 0, read_time(_LATEST) or 0
