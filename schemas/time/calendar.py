"""Days, weeks and months of a time zone, numbered: which one an instant lies in, when one begins.

A period is the time between two local midnights: of days, of Mondays, or of firsts of a month. So a
day on which clocks change has 23 or 25 hours, as people there would say. (Where a clock is put back
over midnight itself, the new day goes on: the hour that comes twice belongs to it both times.)

Day 0 is 1970-01-01, week 0 begins on 1969-12-29, month 0 is January 1970.
"""

import datetime
import functools
import zoneinfo
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidRequest

Period = Literal["day", "week", "month"]

_EPOCH: Final = datetime.date(1970, 1, 1)
_FIRST_MONDAY: Final = datetime.date(1969, 12, 29)
_MS: Final = 1_000
_DAY_MS: Final = 86_400_000
_LEAST_DAYS: Final[dict[Period, int]] = {"day": 1, "week": 7, "month": 28}
# Events are of 1970 to 2100 (see `services.ingest.times`); a margin on both sides costs nothing.
_FIRST_YEAR: Final = 1969
_LAST_YEAR: Final = 2110


class Calendar:
    """The periods of one length in one time zone. Build it with `calendar`, which keeps them."""

    def __init__(self, period: Period, zone: zoneinfo.ZoneInfo) -> None:
        self._period = period
        self._first = number_of(period, datetime.date(_FIRST_YEAR, 1, 1))
        last = number_of(period, datetime.date(_LAST_YEAR, 1, 1))
        begins = (begin_of(period, number) for number in range(self._first, last))
        self._begins = np.array([midnight(day, zone) for day in begins], np.int64)

    def periods(self, at: NDArray[np.int64]) -> NDArray[np.int32]:
        """The number of the period that each instant (ms) lies in; shape as `at`.

        What lies before 1969 or after 2109 is taken to lie in the first or last period of them.
        """
        if at.size:  # mostly all of one period
            first, last = np.searchsorted(self._begins, [at.min(), at.max()], side="right") - 1
            if first == last:
                return np.full(at.shape, max(first, 0) + self._first, np.int32)
        places = np.searchsorted(self._begins, at, side="right") - 1
        return (np.maximum(places, 0) + self._first).astype(np.int32)

    def most_in(self, ms: int) -> int:
        """How many periods a stretch of so many milliseconds may touch at most."""
        # One that a change of clocks makes shorter, or leaves out, and a part at either end.
        return ms // (_DAY_MS * _LEAST_DAYS[self._period]) + 4

    def begin(self, number: int) -> int:
        """The instant (ms) at which a period from 1969 to 2109 begins."""
        return int(self._begins[number - self._first])


@functools.lru_cache(maxsize=256)
def calendar(period: Period, timezone: str) -> Calendar:
    """The calendar of a time zone by its IANA name. Slow when first asked for: half a second.

    Raises:
        InvalidRequest: there is no such time zone.
    """
    return Calendar(period, find_zone(timezone))


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of that IANA name.

    Raises:
        InvalidRequest: there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            "accepted is the IANA name of a time zone, such as Europe/Lisbon or UTC", "timezone"
        ) from None


def number_of(period: Period, day: datetime.date) -> int:
    """The number of the period that a day belongs to."""
    match period:
        case "day":
            return (day - _EPOCH).days
        case "week":
            return (day - _FIRST_MONDAY).days // 7
        case "month":
            return 12 * (day.year - _EPOCH.year) + day.month - 1


def begin_of(period: Period, number: int) -> datetime.date:
    """The first day of a period."""
    match period:
        case "day":
            return _EPOCH + datetime.timedelta(days=number)
        case "week":
            return _FIRST_MONDAY + datetime.timedelta(weeks=number)
        case "month":
            return datetime.date(_EPOCH.year + number // 12, number % 12 + 1, 1)


def midnight(day: datetime.date, zone: zoneinfo.ZoneInfo) -> int:
    """The instant (ms) at which a day begins."""
    # A midnight that a clock skips is taken by its offset before: the moment of the change.
    instant = datetime.datetime.combine(day, datetime.time(), zone)
    return int(instant.timestamp()) * _MS
