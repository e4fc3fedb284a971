"""The aggregates of one cohort in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import OTHER, BreakdownValues, ValuedChanges
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Record
from pipelines.engine.value_counts import ValueCounts, by_period
from pipelines.operators.cohort.columns import Shape, width

_PERSONS: Final = 0  # the column of those who began


class CohortAggregates:
    """Persons by the period in which they began, and how many of them came back when.

    If the cohort is broken down, the same by value.
    """

    def __init__(self, periods: int, *, broken_down: bool = False) -> None:
        self._periods = periods
        self._width = width(Shape(periods, 0, broken_down))
        self._counts: dict[int, Int64s] = {}
        self._by_value = ValueCounts(self._width) if broken_down else None
        # As they are loaded: persons of untracked values, and what was published of these.
        self._untracked = 0
        self._published_error: int | None = None

    def __iter__(self) -> Iterator[int]:
        """Yield the periods that have a record."""
        return iter(self._counts)

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Count changes; return the periods whose record differs now."""
        records = changes.records
        periods, places = np.unique(records["period"], return_inverse=True)
        added = np.zeros((len(periods), self._width), np.int64)
        np.add.at(added, (places, records["column"]), records["added"])
        for period, counts in zip(periods.tolist(), added, strict=True):
            known = self._counts.get(period)
            self._counts[period] = counts if known is None else known + counts
        differ = set(periods.tolist())
        if self._by_value is not None:
            began = (records["column"] == 0) & (records["added"] > 0)
            differ |= self._by_value.admit(changes.tokens, records["value"][began])
            values = self._by_value.values.places(records["value"])
            rows_of = by_period(places, len(periods))
            for period, rows in zip(periods.tolist(), rows_of, strict=True):
                which = values[rows], records["column"][rows]
                np.add.at(self._by_value.of(period), which, records["added"][rows])
        return differ

    def values_error(self) -> int | None:
        """Return how many persons of one value are counted as untracked at most; None if exact."""
        return self._by_value.values.error if self._by_value is not None else None

    def succeed(self, before: "CohortAggregates") -> None:
        """Add an empty record for each period of `before`, and track the values that it tracks."""
        for period in before:
            self._counts.setdefault(period, np.zeros(self._width, np.int64))
        if self._by_value is not None and before.values is not None:
            self._by_value.values.succeed(before.values)

    @property
    def values(self) -> BreakdownValues | None:
        """The values that it tracks; None if the cohort is not broken down."""
        return None if self._by_value is None else self._by_value.values

    def counts(self, period: int) -> tuple[int, list[int], list[int]]:
        """Return persons; of these, who came back in each period; and in each period or later."""
        counts = self._counts.get(period)
        return self._split([0] * self._width if counts is None else counts.tolist())

    def breakdown(self, period: int) -> list[Record]:
        """Return the counts of each value, which is in JSON; None: of all untracked values.

        Those of the total have no periods: they only name the values that are tracked.
        """
        if self._by_value is None:
            return []
        counts = self._by_value.of(period)
        records: list[Record] = []
        for place in self._by_value.published(period, counts[:, 0]):
            persons, returned, or_later = self._split(counts[place].tolist())
            if period == TOTAL:
                returned, or_later = [], []
            records.append(
                {
                    "value": self._by_value.values.values[place],
                    "persons": persons,
                    "returned": returned,
                    "returned_or_later": or_later,
                }
            )
        return records

    def _split(self, counts: list[int]) -> tuple[int, list[int], list[int]]:
        persons, *rest = counts
        return persons, rest[: self._periods], rest[self._periods :]

    def load(self, period: int, record: Record) -> None:
        """Continue from a published record; that of the total names the tracked values."""
        if period != TOTAL:
            self._counts[period] = _joined(record)
        if self._by_value is None:
            return
        self._by_value.drop([period], _PERSONS)  # as an earlier record of the period had it
        for value in record["breakdown"]:
            place = self._by_value.values.load(value["value"])
            if period != TOTAL:
                self._by_value.of(period)[place] += _joined(value)
                self._by_value.load_persons(place, value["persons"])
                if place == OTHER and value["persons"]:
                    self._untracked += value["persons"]
        if period == TOTAL:
            self._published_error = record.get("values_error")
        if self._published_error is not None:
            self._by_value.values.load_error(self._published_error)
        elif self._untracked:
            self._by_value.values.load_error(self._untracked)  # of a version that knew none


def _joined(record: Record) -> Int64s:
    numbers = record["persons"], *record["returned"], *record["returned_or_later"]
    return np.array(numbers, np.int64)
