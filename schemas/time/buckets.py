"""Numbered buckets of time.

Buckets of a day, a week or a month are those of a time zone. Shorter ones begin at whole multiples
of their length since 1970 (UTC), whatever the time zone.
"""

from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.time.calendar import (
    Calendar,
    Period,
    WeekStart,
    begin_of,
    calendar,
    find_zone,
    midnight,
    number_of,
)
from schemas.time.days import day_runs

CalendarInterval = Literal["week", "month"]

DAY_S: Final = 86_400  # of a day whose clocks are not changed
# How long a bucket lasts, at most but for the hour by which clocks are changed.
_INTERVALS_S: Final[dict[CalendarInterval, int]] = {"week": 7 * DAY_S, "month": 31 * DAY_S}


class Buckets:
    """The buckets of one length: a number of seconds, or a calendar interval.

    Those of a day or longer are of `timezone`, and weeks begin on `week_start`.
    """

    def __init__(
        self, length: int | CalendarInterval, timezone: str, week_start: WeekStart = "monday"
    ) -> None:
        self._ms = 1_000 * (length if isinstance(length, int) else _INTERVALS_S[length])
        self._timezone = timezone
        self._week_start = week_start
        self._period: Period | None = None
        if not isinstance(length, int):
            self._period = length
        elif length == DAY_S:
            self._period = "day"

    @property
    def most_ms(self) -> int:
        """How long a bucket lasts (ms), at most but for the hour by which clocks are changed."""
        return self._ms

    def numbers(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bucket of each instant (ms).

        The first call takes half a second for buckets of a day or longer.
        """
        if self._period is not None:
            return self._calendar.periods(at).astype(np.int64)
        return at // self._ms

    def number(self, at: int) -> int:
        """Return the bucket of one instant (ms), which is not before 1970."""
        if self._period is None:
            return at // self._ms
        day = int(day_runs(self._timezone).numbers(np.array([at]))[0])
        if self._period == "day":
            return day
        return number_of(self._period, begin_of("day", day), self._week_start)

    def begin(self, number: int) -> int:
        """Return the instant (ms) at which a bucket begins."""
        if self._period is None:
            return number * self._ms
        first_day = begin_of(self._period, number, self._week_start)
        return midnight(first_day, find_zone(self._timezone))

    def max_count(self, ms: int) -> int:
        """Return how many buckets an interval of `ms` milliseconds can overlap at most."""
        return ms // self._ms + 2 if self._period is None else self._calendar.max_count(ms)

    @cached_property
    def _calendar(self) -> Calendar:
        assert self._period is not None, "shorter buckets need no calendar"
        return calendar(self._period, self._timezone, self._week_start)
