"""The aggregates of one metric of persons in one partition: counts that add up over partitions."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import BreakdownValues, ValuedChanges
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.operator import ChangeRecords, Record
from pipelines.engine.value_counts import ValueCounts, by_period
from pipelines.operators.metric.active_columns import BY_VALUE, LAST_ACTIVE
from schemas.operators.metric import ACTIVE_S, KEPT

# Longer than the longest window that ends now: by the allowed skew, the newest event may be ahead
# of the clock.
_KEPT_S: Final = ACTIVE_S[-1] + 600
_OF_BUCKET: Final = 0  # the window that is one bucket
# The fields of a value that metrics of persons do not have.
_OF_EVENTS: Final[Record] = {"events": 0, "unmeasured": 0, "sum": 0.0}


class LastActive:
    """Persons by the second in which they were last active, for the newest `_KEPT_S` seconds.

    The last of `counts` is that of second `until`.
    """

    def __init__(self) -> None:
        self.until = 0
        self.counts: Int64s = np.zeros(_KEPT_S, np.int64)

    def move(self, before: Int64s, after: Int64s) -> None:
        """Move persons from the seconds `before` (below 0: from none) to the seconds `after`."""
        newest = max(self.until, int(after.max()))
        passed = min(newest - self.until, _KEPT_S)
        self.counts = np.concatenate([self.counts[passed:], np.zeros(passed, np.int64)])
        self.until = newest
        for seconds, added in ((before, -1), (after, 1)):
            places = seconds - newest + _KEPT_S - 1
            np.add.at(self.counts, places[places >= 0], added)

    def load(self, until: int, counts: list[int]) -> None:
        """Replace the counts by published ones, which may leave out seconds at the beginning."""
        self.until = until
        self.counts[_KEPT_S - len(counts) :] = counts


class ActiveAggregates:
    """Persons in the windows that end with each bucket, and when persons were last active.

    If the metric has a breakdown, the former by value, too.
    """

    def __init__(self, windows: int, *, broken_down: bool = False) -> None:
        self._windows = windows
        self._counts: dict[int, Int64s] = {}
        self._newest = NEVER  # the newest bucket in which anybody was active
        self.last_active = LastActive()
        self._by_value = ValueCounts(windows) if broken_down else None

    def __iter__(self) -> Iterator[int]:
        """Yield the buckets that have a record."""
        return iter(self._counts)

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Count changes; return the buckets whose record differs now, or is to be deleted."""
        by_value = changes.records["scope"] == BY_VALUE
        records = changes.records[~by_value]
        last_active = records["window"] == LAST_ACTIVE
        differ: set[int] = set()
        if last_active.any():
            moves = records[last_active]
            self.last_active.move(moves["begin"], moves["end"])
            differ.add(TOTAL)
        if not last_active.all():
            differ |= self._count(records[~last_active])
        if by_value.any():
            differ |= self._count_values(changes.records[by_value], changes.tokens)
        return differ

    def _count(self, changes: ChangeRecords) -> set[int]:
        # The shortest window is one bucket, and new to every person who is counted.
        active = changes["begin"][changes["window"] == _OF_BUCKET]
        self._newest = max(self._newest, int(active.max()))
        oldest = self._newest - KEPT
        gone = {number for number in self._counts if number <= oldest}
        for number in gone:
            del self._counts[number]
        if self._by_value is not None:
            self._by_value.drop(gone, _OF_BUCKET)
        differ = set()
        for number, added in self._added(changes, oldest + 1):
            counts = self._counts.get(number)
            self._counts[number] = added if counts is None else counts + added
            differ.add(number)
        return differ | gone

    def _added(self, changes: ChangeRecords, first: int) -> Iterator[tuple[int, Int64s]]:
        """Yield what is added to each bucket, from the `first` on."""
        begins = np.maximum(changes["begin"], first)
        ends = np.maximum(changes["end"], first)
        low, high = int(begins.min()), int(ends.max())
        steps = np.zeros((high - low + 1, self._windows), np.int64)
        np.add.at(steps, (begins - low, changes["window"]), 1)
        np.add.at(steps, (ends - low, changes["window"]), -1)
        added = np.cumsum(steps, axis=0)
        for place in np.flatnonzero(added.any(axis=1)).tolist():
            yield low + place, added[place].copy()

    def _count_values(self, changes: ChangeRecords, tokens: Mapping[int, str]) -> set[int]:
        """Count changes by value, in the buckets that are kept."""
        assert self._by_value is not None, "only a breakdown makes such changes"
        new = (changes["window"] == _OF_BUCKET) & (changes["added"] > 0)
        differ = self._by_value.admit(tokens, changes["value"][new])
        lengths = changes["end"] - changes["begin"]
        rows = np.repeat(np.arange(len(changes)), lengths)
        into = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        buckets = changes["begin"][rows] + into
        kept = buckets > self._newest - KEPT
        rows, buckets = rows[kept], buckets[kept]
        places = self._by_value.values.places(changes["value"])
        numbers, of_number = np.unique(buckets, return_inverse=True)
        for number, part in zip(numbers.tolist(), by_period(of_number, len(numbers)), strict=True):
            own = rows[part]
            which = places[own], changes["window"][own]
            np.add.at(self._by_value.of(number), which, changes["added"][own])
            differ.add(number)
        return differ

    def succeed(self, before: "ActiveAggregates") -> None:
        """Track the values that `before` tracks.

        Every bucket that `before` has is counted again, or is no longer kept.
        """
        if self._by_value is not None and before.values is not None:
            self._by_value.values.succeed(before.values)

    @property
    def values(self) -> BreakdownValues | None:
        """The values that it tracks; None if the metric has no breakdown."""
        return None if self._by_value is None else self._by_value.values

    def counts(self, number: int) -> list[int]:
        """Return how many persons are in each of the windows that end with a bucket."""
        counts = self._counts.get(number)
        return [0] * self._windows if counts is None else counts.tolist()

    def record(self, number: int) -> Record | None:
        """Return what is published of a bucket; None if its record is to be deleted."""
        if number not in self._counts:
            return None
        return {"persons": self.counts(number), "breakdown": self._breakdown(number)}

    def _breakdown(self, number: int) -> list[Record]:
        if self._by_value is None:
            return []
        shape = len(self._by_value.values), self._windows
        counts = np.zeros(shape, np.int64) if number == TOTAL else self._by_value.of(number)
        return [
            {
                **_OF_EVENTS,
                "value": self._by_value.values.values[place],
                "persons": [] if number == TOTAL else counts[place].tolist(),
            }
            for place in self._by_value.published(number, np.abs(counts).sum(axis=1))
        ]

    def total_record(self) -> Record:
        """Return what is published of all buckets together."""
        total: dict[str, object] = {}
        if self._by_value is not None:
            total |= {
                "breakdown": self._breakdown(TOTAL),
                "values_error": self._by_value.values.error,
            }
        used = np.flatnonzero(self.last_active.counts)
        if len(used):
            counts = self.last_active.counts[used[0] :].tolist()
            total |= {"seen_until": self.last_active.until, "seen": counts}
        return total

    def load(self, number: int, record: Record) -> None:
        """Continue from the published record of a bucket."""
        self._counts[number] = np.array(record["persons"], np.int64)
        if self._by_value is None:
            return
        self._by_value.drop([number], _OF_BUCKET)
        for value in record["breakdown"]:
            place, persons = self._by_value.values.load(value["value"]), value["persons"]
            self._by_value.of(number)[place] += np.array(persons, np.int64)
            self._by_value.load_persons(place, persons[_OF_BUCKET])

    def load_total(self, newest: int, record: Record) -> None:
        """Continue from the published record of the total; `newest` is the newest bucket."""
        self._newest = newest
        if self._by_value is not None:
            for value in record["breakdown"]:
                self._by_value.values.load(value["value"])
            self._by_value.values.load_error(record["values_error"])
        if record["seen"]:
            self.last_active.load(record["seen_until"], record["seen"])
