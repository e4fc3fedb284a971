"""The aggregates of one metric of persons in one partition: counts that add up over partitions."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.operator import ChangeRecords, Record
from pipelines.operators.metric.active_columns import LAST_ACTIVE
from schemas.operators.metric import ACTIVE_S, KEPT

# Longer than the longest window that ends now: by the allowed skew, the newest event may be ahead
# of the clock.
_KEPT_S: Final = ACTIVE_S[-1] + 600


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
    """Persons in the windows that end with each bucket, and when persons were last active."""

    def __init__(self, windows: int) -> None:
        self._windows = windows
        self._counts: dict[int, Int64s] = {}
        self._newest = NEVER  # the newest bucket in which anybody was active
        self.last_active = LastActive()

    def __iter__(self) -> Iterator[int]:
        """Yield the buckets that have a record."""
        return iter(self._counts)

    def apply(self, changes: ChangeRecords) -> set[int]:
        """Count changes; return the buckets whose record differs now, or is to be deleted."""
        last_active = changes["window"] == LAST_ACTIVE
        differ: set[int] = set()
        if last_active.any():
            moves = changes[last_active]
            self.last_active.move(moves["begin"], moves["end"])
            differ.add(TOTAL)
        if not last_active.all():
            differ |= self._count(changes[~last_active])
        return differ

    def _count(self, changes: ChangeRecords) -> set[int]:
        # The shortest window is one bucket, and new to every person who is counted.
        active = changes["begin"][changes["window"] == 0]
        self._newest = max(self._newest, int(active.max()))
        oldest = self._newest - KEPT
        gone = {number for number in self._counts if number <= oldest}
        for number in gone:
            del self._counts[number]
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

    def succeed(self, before: "ActiveAggregates") -> None:
        """Do nothing: every bucket that `before` has is counted again, or is no longer kept."""

    def counts(self, number: int) -> list[int]:
        """Return how many persons are in each of the windows that end with a bucket."""
        counts = self._counts.get(number)
        return [0] * self._windows if counts is None else counts.tolist()

    def record(self, number: int) -> Record | None:
        """Return what is published of a bucket; None if its record is to be deleted."""
        if number not in self._counts:
            return None
        return {"persons": self.counts(number)}

    def total_record(self) -> Record:
        """Return what is published of all buckets together."""
        used = np.flatnonzero(self.last_active.counts)
        if not len(used):
            return {}
        counts = self.last_active.counts[used[0] :].tolist()
        return {"seen_until": self.last_active.until, "seen": counts}

    def load(self, number: int, record: Record) -> None:
        """Continue from the published record of a bucket."""
        self._counts[number] = np.array(record["persons"], np.int64)

    def load_total(self, newest: int, record: Record) -> None:
        """Continue from the published record of the total; `newest` is the newest bucket."""
        self._newest = newest
        if record["seen"]:
            self.last_active.load(record["seen_until"], record["seen"])
