"""The aggregates of one funnel with options in one partition: attempts and values, too."""

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import OTHER, BreakdownValues, ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.operator import ChangeRecords, Record
from pipelines.engine.value_counts import ValueCounts, by_period
from pipelines.operators.funnel.aggregates import FunnelAggregates, number_days
from pipelines.operators.funnel.columns import ALL, VALUE

_PERSONS, _ATTEMPTS = range(2)  # what is counted of each value, per step


class AttemptAggregates(FunnelAggregates):
    """Persons and attempts that reached each step, by entry day and in total, and by value."""

    def __init__(self, steps: int, *, entries: bool) -> None:
        super().__init__(steps)
        self._counts_entries = entries
        self._entries: dict[int, Int64s] = {}
        self._by_value = ValueCounts(2, steps)

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Count changes; return the days whose record differs now."""
        records = changes.records
        entered = records["scope"] == VALUE
        entered &= (records["day"] == TOTAL) & (records["step"] == 0) & (records["before"] == NONE)
        differ = self._by_value.admit(changes.tokens, records["value"][entered])
        days, places = number_days(records["day"])
        differ.update(days)
        of_all = records["scope"] == ALL
        if self._counts_entries:
            self._add_entries(days, places[of_all], records[of_all])
        if not of_all.all():
            self._add_values(days, places[~of_all], records[~of_all])
        return differ | super().apply(ValuedChanges(records[of_all]))

    def _add_entries(self, days: list[int], places: Int64s, records: ChangeRecords) -> None:
        added = np.zeros((len(days), self._steps), np.int64)
        np.add.at(added, (places, records["step"]), records["entries"])
        for day, entries in zip(days, added, strict=True):
            known = self._entries.get(day)
            self._entries[day] = entries if known is None else known + entries

    def _add_values(self, days: list[int], places: Int64s, records: ChangeRecords) -> None:
        values, steps = self._by_value.values.places(records["value"]), records["step"]
        persons = (records["before"] == NONE).astype(np.int64) - (records["after"] == NONE)
        entries = records["entries"]
        for day, rows in zip(days, by_period(places, len(days)), strict=True):
            if len(rows):
                counts, which = self._by_value.of(day), (values[rows], steps[rows])
                np.add.at(counts[:, _PERSONS], which, persons[rows])
                np.add.at(counts[:, _ATTEMPTS], which, entries[rows])

    def values_error(self) -> int | None:
        """Return how many persons of one value are counted as untracked at most; None if exact."""
        return self._by_value.values.error

    def succeed(self, before: FunnelAggregates) -> None:
        """Add an empty record for each day of `before`, and track the values that it tracks."""
        super().succeed(before)
        if isinstance(before, AttemptAggregates):
            self._by_value.values.succeed(before.values)

    @property
    def values(self) -> BreakdownValues:
        """The values that it tracks."""
        return self._by_value.values

    def entries(self, day: int) -> list[int]:
        """Return how many attempts reached each step; empty if they are not counted."""
        if not self._counts_entries:
            return []
        counts = self._entries.get(day)
        return [0] * self._steps if counts is None else counts.tolist()

    def breakdown(self, day: int) -> list[Record]:
        """Return the counts of each value, which is in JSON; None: of all untracked values."""
        if day != TOTAL and day not in self._by_value:
            return []
        counts = self._by_value.of(day)
        return [
            {
                "value": self._by_value.values.values[place],
                "reached": counts[place, _PERSONS].tolist(),
                "entries": counts[place, _ATTEMPTS].tolist() if self._counts_entries else [],
            }
            for place in self._by_value.published(day, np.abs(counts[:, _PERSONS]).sum(axis=1))
        ]

    @staticmethod
    def person_changes(changes: ValuedChanges) -> ChangeRecords:
        """Return the changes that are published for persons."""
        of_all: ChangeRecords = changes.records[changes.records["scope"] == ALL]
        return of_all

    def load(self, day: int, record: Record) -> None:
        """Continue from a published record."""
        super().load(day, record)
        if self._counts_entries:
            self._entries[day] = np.array(record["entries"], np.int64)
        if day in self._by_value:  # as an earlier record of the day had it
            self._by_value.of(day)[:] = 0
        for value in record["breakdown"]:
            place = self._by_value.values.load(value["value"])
            counts = self._by_value.of(day)
            counts[place, _PERSONS] += value["reached"]
            counts[place, _ATTEMPTS] += value["entries"] or 0
            if day == TOTAL:
                persons = value["reached"][0]
                self._by_value.load_persons(place, persons)
                if place == OTHER and persons and record.get("values_error") is None:
                    self._by_value.values.load_error(persons)  # of a version that knew none
        if record.get("values_error") is not None:
            self._by_value.values.load_error(record["values_error"])
