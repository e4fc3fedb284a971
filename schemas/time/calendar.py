"""Numbered days, weeks and months of a time zone.

A period lasts from one local midnight to another: of the next day, of the next Monday or Sunday
(`WeekStart`), or of the first of the next month. A day on which clocks change therefore has 23 or
25 hours. (Where clocks go back over midnight, the hour that occurs twice belongs to the later day
both times.)

Day 0 is 1970-01-01, month 0 is January 1970. Week 0 begins on Monday, 1969-12-29, or if weeks begin
on Sunday, on 1969-12-28.

The rules of time zones are those of the package `tzdata`, on every machine: the system's own may be
older.
"""

import datetime
import functools
import zoneinfo
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidRequest

zoneinfo.reset_tzpath(to=())

Period = Literal["day", "week", "month"]
WeekStart = Literal["monday", "sunday"]

_EPOCH: Final = datetime.date(1970, 1, 1)
_FIRST_WEEK: Final[dict[WeekStart, datetime.date]] = {
    "monday": datetime.date(1969, 12, 29),
    "sunday": datetime.date(1969, 12, 28),
}
_MS: Final = 1_000
_DAY_MS: Final = 86_400_000
_LEAST_DAYS: Final[dict[Period, int]] = {"day": 1, "week": 7, "month": 28}
# Events lie between 1970 and 2100 (`services.ingest.times`); the margin is for time zones.
_FIRST_YEAR: Final = 1969
_LAST_YEAR: Final = 2110


class Calendar:
    """The periods of one length in one time zone. Get it from `calendar`, which caches them."""

    def __init__(self, period: Period, zone: zoneinfo.ZoneInfo, week_start: WeekStart) -> None:
        self._period = period
        self._first = number_of(period, datetime.date(_FIRST_YEAR, 1, 1), week_start)
        last = number_of(period, datetime.date(_LAST_YEAR, 1, 1), week_start)
        begins = (begin_of(period, number, week_start) for number in range(self._first, last))
        self._begins = np.array([midnight(day, zone) for day in begins], np.int64)

    def periods(self, at: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the period of each instant (ms), in the shape of `at`.

        Instants before 1969 get the first period of that year, those after 2109 the last of that.
        """
        if at.size:  # usually all instants lie in one period
            first, last = np.searchsorted(self._begins, [at.min(), at.max()], side="right") - 1
            if first == last:
                return np.full(at.shape, max(first, 0) + self._first, np.int32)
        places = np.searchsorted(self._begins, at, side="right") - 1
        return (np.maximum(places, 0) + self._first).astype(np.int32)

    def max_count(self, ms: int) -> int:
        """Return how many periods an interval of `ms` milliseconds can overlap at most."""
        # One for each end, and for days that a change of clocks shortens or skips.
        return ms // (_DAY_MS * _LEAST_DAYS[self._period]) + 4

    def begin(self, number: int) -> int:
        """Return the instant (ms) at which a period between 1969 and 2109 begins."""
        return int(self._begins[number - self._first])


@functools.lru_cache(maxsize=256)
def calendar(period: Period, timezone: str, week_start: WeekStart = "monday") -> Calendar:
    """Return the calendar of a time zone by its IANA name; the first call takes half a second.

    Raises:
        InvalidRequest: there is no such time zone.
    """
    return Calendar(period, find_zone(timezone), week_start)


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        InvalidRequest: there is no such time zone.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            "must be the IANA name of a time zone, such as Europe/Lisbon or UTC", "timezone"
        ) from None


def number_of(period: Period, day: datetime.date, week_start: WeekStart = "monday") -> int:
    """Return the period that a day belongs to."""
    match period:
        case "day":
            return (day - _EPOCH).days
        case "week":
            return (day - _FIRST_WEEK[week_start]).days // 7
        case "month":
            return 12 * (day.year - _EPOCH.year) + day.month - 1


def begin_of(period: Period, number: int, week_start: WeekStart = "monday") -> datetime.date:
    """Return the first day of a period."""
    match period:
        case "day":
            return _EPOCH + datetime.timedelta(days=number)
        case "week":
            return _FIRST_WEEK[week_start] + datetime.timedelta(weeks=number)
        case "month":
            return datetime.date(_EPOCH.year + number // 12, number % 12 + 1, 1)


def midnight(day: datetime.date, zone: zoneinfo.ZoneInfo) -> int:
    """Return the instant (ms) at which a day begins."""
    # If clocks skip midnight, the offset before the change applies: the day begins at the change.
    instant = datetime.datetime.combine(day, datetime.time(), zone)
    return int(instant.timestamp()) * _MS
