"""Counts by period and by value of a breakdown."""

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import OTHER, BreakdownValues
from pipelines.engine.constants import TOTAL


class ValueCounts:
    """Counts of one shape for each tracked value of each period."""

    def __init__(self, *shape: int) -> None:
        self.values = BreakdownValues()
        self._shape = shape
        self._periods: dict[int, Int64s] = {}

    def __contains__(self, period: int) -> bool:
        return period in self._periods

    def of(self, period: int) -> Int64s:
        """Return the counts of a period, to be changed in place: one row per tracked value."""
        counts, size = self._periods.get(period), len(self.values)
        if counts is None or len(counts) < size:
            larger = np.zeros((size, *self._shape), np.int64)
            if counts is not None:
                larger[: len(counts)] = counts
            counts = self._periods[period] = larger
        return counts

    def empty(self, periods: int) -> Int64s:
        """Return counts of 0 for each tracked value of some periods."""
        return np.zeros((periods, len(self.values), *self._shape), np.int64)

    def published(self, period: int, counted: Int64s) -> list[int]:
        """Return the values to publish: those that are `counted` (not 0) in the period.

        In the total they are all values that have a place, so that restoring finds it again.
        """
        publish = counted != 0
        if period == TOTAL:
            publish[OTHER + 1 :] = True
        places: list[int] = np.flatnonzero(publish).tolist()
        return places
