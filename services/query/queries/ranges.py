"""The range of times that a query is about, read from its fields."""

import datetime
import re
from typing import Final, NamedTuple

from schemas.errors import InvalidRequest
from schemas.queries.query import Query
from schemas.time.calendar import find_zone, midnight
from schemas.time.rfc3339 import TIME_FORMATS, read_time

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
# Events lie between 1970 and 2100; the margin is for time zones.
_EARLIEST: Final = datetime.date(1969, 1, 1)
_LATEST: Final = datetime.date(2109, 12, 30)
_ACCEPTED: Final = f"must be a time from {_EARLIEST} to {_LATEST}: {TIME_FORMATS}"


class TimeRange(NamedTuple):
    """Times from `begin` to `end` (ms since 1970), which is not part of it."""

    begin: int
    end: int


def read_from(text: str, timezone: str, field: str = "from") -> int:
    """Return the first moment of a range (ms): that of a whole day, if it is a date.

    Raises:
        InvalidRequest: it is neither a date nor a time from 1969 to 2109.
    """
    return _read(text, timezone, field, days_later=0)


def read_to(text: str, timezone: str, field: str = "to") -> int:
    """Return the first moment after a range (ms): that of the next day, if it is a date.

    Raises:
        InvalidRequest: it is neither a date nor a time from 1969 to 2109.
    """
    return _read(text, timezone, field, days_later=1)


def check_order(found: TimeRange) -> TimeRange:
    """Return a range that has a length; raises `InvalidRequest` for one that has none."""
    if found.begin >= found.end:
        raise InvalidRequest("must be later than the beginning of the range", "to")
    return found


def _read(text: str, timezone: str, field: str, *, days_later: int) -> int:
    moment = read_time(text)
    if moment is None or not _BOUNDS[0] <= moment < _BOUNDS[1]:
        raise InvalidRequest(_ACCEPTED, field)
    if _DAY.fullmatch(text) is None:
        return moment
    day = datetime.date.fromisoformat(text) + datetime.timedelta(days=days_later)
    return midnight(day, find_zone(timezone))


_BOUNDS: Final = read_time(_EARLIEST.isoformat()) or 0, read_time(_LATEST.isoformat()) or 0
ALL_TIME: Final = TimeRange(*_BOUNDS)


def read_range(query: Query) -> TimeRange:
    """Return the range of a query that has all times without `from` and `to`.

    Raises:
        InvalidRequest: it is none, or has no length.
    """
    begin, end = ALL_TIME
    if query.from_ is not None:
        begin = read_from(query.from_, query.timezone)
    if query.to is not None:
        end = read_to(query.to, query.timezone)
    return check_order(TimeRange(begin, end))
