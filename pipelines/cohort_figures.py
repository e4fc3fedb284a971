"""The figures of one cohort in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.cohort_fold import Shape, columns
from pipelines.operators import Changes

Counts: TypeAlias = NDArray[np.int64]


class CohortFigures:
    """Persons by the period in which they began, and how many of them came back when."""

    def __init__(self, periods: int) -> None:
        self._periods = periods
        self._columns = columns(Shape(periods, 0))
        self._counts: dict[int, Counts] = {}

    def __iter__(self) -> Iterator[int]:
        """The periods that there are figures of."""
        return iter(self._counts)

    def apply(self, changes: Changes) -> set[int]:
        """Add what changed; returns the periods whose figures differ now."""
        periods, places = np.unique(changes["period"], return_inverse=True)
        added = np.zeros((len(periods), self._columns), np.int64)
        np.add.at(added, (places, changes["column"]), changes["added"])
        for period, row in zip(periods.tolist(), added, strict=True):
            counts = self._counts.get(period)
            self._counts[period] = row if counts is None else counts + row
        return set(periods.tolist())

    def counts(self, period: int) -> tuple[int, list[int], list[int]]:
        """Persons; of them, who came back in each period; and in each period or later."""
        counts = self._counts.get(period)
        size, *rest = [0] * self._columns if counts is None else counts.tolist()
        return size, rest[: self._periods], rest[self._periods :]

    def load(self, period: int, size: int, returned: list[int], or_later: list[int]) -> None:
        """Take over figures as they were published."""
        self._counts[period] = np.array([size, *returned, *or_later], np.int64)
