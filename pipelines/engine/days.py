"""Days of a time zone, for kernels.

A kernel gets the instants at which the days from 1969 to 2109 begin: it takes the day that a time
has in UTC, and corrects it by one at most. Of UTC it gets none, and divides instead.
"""

import functools
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.constants import DAY_MS
from schemas.time.days import day_runs

# In a module of `pipelines`: kernels that hold a constant of another package would not be compiled
# again when it changes.
FIRST_DAY: Final = -365  # 1969-01-01
_LAST_DAY: Final = 51_133  # 2109-12-31

UTC_DAYS: Final = np.zeros(0, np.int64)


@functools.lru_cache(maxsize=1_024)
def days_in(timezone: str) -> Int64s:
    """Return the days of a time zone by its IANA name; the first call takes a tenth of a second.

    The array is shared: it must not be written to.

    Raises:
        InvalidRequest: there is no such time zone.
    """
    runs = day_runs(timezone)
    return UTC_DAYS if runs.are_utc else runs.begins_of_days(FIRST_DAY, _LAST_DAY)


@kernel
def day_of(days: Int64s, at: Int) -> Int:
    """Return the day of a time in ms, in days since 1970.

    In zones other than UTC, earlier times are of the first day of 1969, later ones of the last of
    2109.
    """
    if len(days) == 0:
        return at // DAY_MS
    last = len(days) - 1
    place: Int = min(max(at // DAY_MS - FIRST_DAY, 0), last)
    while place > 0 and days[place] > at:
        place -= 1
    while place < last and days[place + 1] <= at:
        place += 1
    return place + FIRST_DAY


@kernel
def begin_of_day(days: Int64s, day: Int) -> Int:
    """Return the time (ms) at which a day begins, which is when the day before it ends."""
    if len(days) == 0:
        return day * DAY_MS
    return days[min(max(day - FIRST_DAY, 0), len(days) - 1)]
