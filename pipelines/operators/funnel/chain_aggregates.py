"""The figures of one funnel with options in one partition: besides persons, chains and values."""

from typing import Any, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import OTHER, BreakdownValues, ValuedChanges
from pipelines.engine.operator import TOTAL, ChangeRecords, Record
from pipelines.operators.funnel.aggregates import FunnelAggregates, numbered
from pipelines.operators.funnel.chain_rules import ALL
from pipelines.operators.sequence.kernel import UNSET


class Counts(NamedTuple):
    """How many reached each step, by the place of their value: shape (values, steps)."""

    persons: Int64s
    chains: Int64s


class ChainAggregates(FunnelAggregates):
    """Persons and chains that reached each step, by entry day and in total; and of each value.

    Values are told apart as `BreakdownValues` says.
    """

    def __init__(self, steps: int, *, entries: bool) -> None:
        super().__init__(steps)
        self._counts_entries = entries
        self._entries: dict[int, Int64s] = {}
        self._told_apart = BreakdownValues()
        self._of_values: dict[int, Counts] = {}  # by day

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Add what changed; returns the days whose figures differ now."""
        admitted = self._told_apart.admit(changes.tokens)
        records = changes.records
        days, places = numbered(records["day"])
        whole = records["scope"] == ALL
        if self._counts_entries:
            self._add_entries(days, places[whole], records[whole])
        if not whole.all():
            self._add_values(days, places[~whole], records[~whole])
        return (
            super().apply(ValuedChanges(records[whole]))
            | set(days)
            | ({TOTAL} if admitted else set())
        )

    def _add_entries(self, days: list[int], places: Int64s, records: ChangeRecords) -> None:
        added = np.zeros((len(days), self._steps), np.int64)
        np.add.at(added, (places, records["step"]), records["entries"])
        for day, entries in zip(days, added, strict=True):
            known = self._entries.get(day)
            self._entries[day] = entries if known is None else known + entries

    def _add_values(self, days: list[int], places: Int64s, records: ChangeRecords) -> None:
        shape = len(days), len(self._told_apart), self._steps
        added = Counts(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        cells = places, self._told_apart.places(records["value"]), records["step"]
        more = (records["before"] == UNSET).astype(np.int64) - (records["after"] == UNSET)
        np.add.at(added.persons, cells, more)
        np.add.at(added.chains, cells, records["entries"])
        for place in np.unique(places).tolist():
            counts = self._counts(days[place])
            counts.persons[:] += added.persons[place]
            counts.chains[:] += added.chains[place]

    def _counts(self, day: int) -> Counts:
        """The counts of a day, with a place for each value that is told apart by now."""
        counts, size = self._of_values.get(day), len(self._told_apart)
        if counts is None or len(counts.persons) < size:
            larger = Counts(*np.zeros((2, size, self._steps), np.int64))
            if counts is not None:
                for old, new in zip(counts, larger, strict=True):
                    new[: len(old)] = old
            counts = self._of_values[day] = larger
        return counts

    def entries(self, day: int) -> list[int]:
        """Chains that reached each step; none where they are not counted."""
        if not self._counts_entries:
            return []
        counts = self._entries.get(day)
        return [0] * self._steps if counts is None else counts.tolist()

    def breakdown(self, day: int) -> list[dict[str, Any]]:
        """The figures of each value: in JSON, or None for all that are not told apart.

        Those of the total have all values that are told apart, counted or not.
        """
        if day != TOTAL and day not in self._of_values:
            return []
        counts = self._counts(day)
        counted = np.asarray(counts.persons.any(axis=1))
        if day == TOTAL:
            counted[OTHER + 1 :] = True
        return [
            {
                "value": self._told_apart.values[place],
                "reached": counts.persons[place].tolist(),
                "entries": counts.chains[place].tolist() if self._counts_entries else [],
            }
            for place in np.flatnonzero(counted).tolist()
        ]

    @staticmethod
    def of_persons(changes: ValuedChanges) -> ChangeRecords:
        """Those of the changes that tell of persons, and are to be announced."""
        persons: ChangeRecords = changes.records[changes.records["scope"] == ALL]
        return persons

    def load(self, day: int, record: Record) -> None:
        """Take over figures as they were published."""
        super().load(day, record)
        if self._counts_entries:
            self._entries[day] = np.array(record["entries"], np.int64)
        for one in record["breakdown"]:
            place = self._told_apart.load(one["value"])
            counts = self._counts(day)
            counts.persons[place] = one["reached"]
            counts.chains[place] = one["entries"] or 0
