"""Buckets of time, numbered: which one an instant lies in, and when one begins.

Days are those of a time zone. Shorter buckets begin at whole multiples of their length since 1970
(UTC), whatever the time zone.
"""

import datetime
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.time.calendar import Calendar, begin_of, calendar, find_zone, midnight, number_of

_DAY_S: Final = 86_400


class Buckets:
    """The buckets of one length, of `timezone` if they are days."""

    def __init__(self, bucket_s: int, timezone: str) -> None:
        self._ms = 1_000 * bucket_s
        self._timezone = timezone
        self._days = bucket_s == _DAY_S

    def numbers(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the bucket that each instant (ms) lies in; of days slow the first time."""
        if self._days:
            return self._calendar.periods(at).astype(np.int64)
        return at // self._ms

    def number(self, at: int) -> int:
        """The number of the bucket that one instant (ms), from 1970 on, lies in."""
        if self._days:
            local = datetime.datetime.fromtimestamp(at // 1_000, find_zone(self._timezone))
            return number_of("day", local.date())
        return at // self._ms

    def begin(self, number: int) -> int:
        """The instant (ms) at which a bucket begins."""
        if self._days:
            return midnight(begin_of("day", number), find_zone(self._timezone))
        return number * self._ms

    def most_in(self, ms: int) -> int:
        """How many buckets a stretch of so many milliseconds may touch at most."""
        return self._calendar.most_in(ms) if self._days else ms // self._ms + 2

    @cached_property
    def _calendar(self) -> Calendar:
        return calendar("day", self._timezone)
