"""The days of a time zone as runs of equal length, so that a query can number them.

ClickHouse has rules of its own for time zones, which may be older than ours. It is therefore given
the runs of days that begin 24 hours after each other: there is one more for each change of clocks.
"""

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.time.calendar import begin_of, find_zone, midnight

_DAY_MS: Final = 86_400_000
_FIRST: Final = -366  # 1968-12-31: see `schemas.time.calendar.Calendar`
_LAST: Final = 51_134  # 2110-01-01
# Days between two that are looked at: clocks are not changed twice within so few.
_STEP: Final = 4


class DayRuns(NamedTuple):
    """Runs of days since 1970: run i is `first[i]` to `last[i]`, and begins at `begins[i]` (ms)."""

    begins: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def numbers(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the day of each instant (ms) from 1969 to 2109."""
        run = np.maximum(np.searchsorted(self.begins, at, side="right") - 1, 0)
        # The last day of a run may have 25 hours.
        days = self.first[run] + (at - self.begins[run]) // _DAY_MS
        numbers: NDArray[np.int64] = np.minimum(days, self.last[run])
        return numbers

    @property
    def are_utc(self) -> bool:
        """Whether the days are those of UTC."""
        return len(self.begins) == 1 and bool(self.begins[0] == self.first[0] * _DAY_MS)

    def begins_of_days(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the instants (ms) at which the days from `first` to `last` begin.

        Both are days from 1969 to 2109. A day that a zone left out begins when the next one does.
        """
        days = np.arange(first, last + 1)
        run = np.searchsorted(self.first, days, side="right") - 1
        begins: NDArray[np.int64] = self.begins[run] + (days - self.first[run]) * _DAY_MS
        return begins


@functools.lru_cache(maxsize=1_024)
def day_runs(timezone: str) -> DayRuns:
    """Return the days of a time zone by its IANA name; the first call takes a tenth of a second.

    Raises:
        InvalidRequest: there is no such time zone.
    """
    zone = find_zone(timezone)

    def shift(day: int) -> int:
        return midnight(begin_of("day", day), zone) - day * _DAY_MS

    first, shifts = [_FIRST], [shift(_FIRST)]
    for day in range(_FIRST + _STEP, _LAST + _STEP, _STEP):
        if shift(day) == shifts[-1]:
            continue
        for one in range(day - _STEP + 1, day + 1):
            if (own := shift(one)) != shifts[-1]:
                first.append(one)
                shifts.append(own)
    days = np.array(first, np.int64)
    begins = days * _DAY_MS + np.array(shifts)
    kept = np.append(np.diff(begins) > 0, [True])  # a day may be left out, and has no length then
    begins, days = begins[kept], days[kept]
    return DayRuns(begins, days, np.append(days[1:] - 1, 2**31 - 1))
