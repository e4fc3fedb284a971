"""Numbered buckets of time.

Buckets of a day are the days of a time zone. Shorter ones begin at whole multiples of their length
since 1970 (UTC), whatever the time zone.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.time.calendar import Calendar, begin_of, calendar, find_zone, midnight
from schemas.time.days import day_runs

_DAY_S: Final = 86_400


class Buckets:
    """The buckets of one length, of `timezone` if they are days."""

    def __init__(self, bucket_s: int, timezone: str) -> None:
        self._ms = 1_000 * bucket_s
        self._timezone = timezone
        self._days = bucket_s == _DAY_S

    def numbers(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bucket of each instant (ms); the first call takes half a second for days."""
        if self._days:
            return self._calendar.periods(at).astype(np.int64)
        return at // self._ms

    def number(self, at: int) -> int:
        """Return the bucket of one instant (ms), which is not before 1970."""
        if self._days:
            return int(day_runs(self._timezone).numbers(np.array([at]))[0])
        return at // self._ms

    def begin(self, number: int) -> int:
        """Return the instant (ms) at which a bucket begins."""
        if self._days:
            return midnight(begin_of("day", number), find_zone(self._timezone))
        return number * self._ms

    def max_count(self, ms: int) -> int:
        """Return how many buckets an interval of `ms` milliseconds can overlap at most."""
        return self._calendar.max_count(ms) if self._days else ms // self._ms + 2

    @cached_property
    def _calendar(self) -> Calendar:
        return calendar("day", self._timezone)
