"""The figures of one cohort in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.breakdown import OTHER, BreakdownValues, ValuedChanges
from pipelines.engine.operator import TOTAL, Record
from pipelines.operators.cohort.kernel import Shape, columns

Counts: TypeAlias = NDArray[np.int64]


class CohortAggregates:
    """Persons by the period in which they began, and how many of them came back when.

    If the cohort is broken down, the same of each value, told apart as `BreakdownValues` says.
    """

    def __init__(self, periods: int, *, broken_down: bool = False) -> None:
        self._periods = periods
        self._columns = columns(Shape(periods, 0, broken_down))
        self._counts: dict[int, Counts] = {}
        self._told_apart = BreakdownValues() if broken_down else None
        self._of_values: dict[int, Counts] = {}  # by period, shape (values, columns)

    def __iter__(self) -> Iterator[int]:
        """The periods that there are figures of."""
        return iter(self._counts)

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Add what changed; returns the periods whose figures differ now."""
        records = changes.records
        periods, places = np.unique(records["period"], return_inverse=True)
        added = np.zeros((len(periods), self._columns), np.int64)
        np.add.at(added, (places, records["column"]), records["added"])
        for period, row in zip(periods.tolist(), added, strict=True):
            counts = self._counts.get(period)
            self._counts[period] = row if counts is None else counts + row
        differ = set(periods.tolist())
        if self._told_apart is not None:
            if self._told_apart.admit(changes.tokens):
                differ.add(TOTAL)
            values = self._told_apart.places(records["value"])
            of_values = np.zeros((len(periods), len(self._told_apart), self._columns), np.int64)
            np.add.at(of_values, (places, values, records["column"]), records["added"])
            for period, rows in zip(periods.tolist(), of_values, strict=True):
                self._counts_of(self._told_apart, period)[:] += rows
        return differ

    def _counts_of(self, breakdown_values: BreakdownValues, period: int) -> Counts:
        """The counts of a period, with a place for each value that is told apart by now."""
        counts = self._of_values.get(period, np.zeros((0, self._columns), np.int64))
        if len(counts) < len(breakdown_values):
            more = np.zeros((len(breakdown_values) - len(counts), self._columns), np.int64)
            counts = self._of_values[period] = np.concatenate([counts, more])
        return counts

    def counts(self, period: int) -> tuple[int, list[int], list[int]]:
        """Persons; of them, who came back in each period; and in each period or later."""
        counts = self._counts.get(period)
        return self._split([0] * self._columns if counts is None else counts.tolist())

    def breakdown(self, period: int) -> list[dict[str, Any]]:
        """The counts of each value: in JSON, or None for all that are not told apart.

        Those of the total are of nobody, and of all values that are told apart.
        """
        if self._told_apart is None:
            return []
        counts = self._counts_of(self._told_apart, period)
        counted = np.asarray(counts[:, 0] != 0)
        if period == TOTAL:
            counted[OTHER + 1 :] = True
        found = []
        for place in np.flatnonzero(counted).tolist():
            persons, returned, or_later = self._split(counts[place].tolist())
            numbers = ([], []) if period == TOTAL else (returned, or_later)
            value = {"value": self._told_apart.values[place], "persons": persons}
            found.append(value | dict(zip(("returned", "returned_or_later"), numbers, strict=True)))
        return found

    def _split(self, counts: list[int]) -> tuple[int, list[int], list[int]]:
        size, *rest = counts
        return size, rest[: self._periods], rest[self._periods :]

    def load(self, period: int, record: Record) -> None:
        """Take over figures as they were published; of the total (`TOTAL`), its values."""
        if period != TOTAL:
            self._counts[period] = _joined(record)
        if self._told_apart is None:
            return
        for one in record["breakdown"]:
            place = self._told_apart.load(one["value"])
            if period != TOTAL:
                self._counts_of(self._told_apart, period)[place] = _joined(one)


def _joined(record: Record) -> Counts:
    numbers = record["persons"], *record["returned"], *record["returned_or_later"]
    return np.array(numbers, np.int64)
