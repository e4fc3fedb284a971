"""The figures of one metric of persons in one partition: counts that add up over partitions."""

from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.operator import NEVER, TOTAL, ChangeRecords, Record
from pipelines.operators.metric.active_kernel import SEEN
from schemas.operators.metric import ACTIVE_S, KEPT

# Beyond the longest of the windows up to now: the newest event may be ahead of the clock, by the
# skew that is allowed.
SEEN_S: Final = ACTIVE_S[-1] + 600

Counts: TypeAlias = NDArray[np.int64]


class LastSeen:
    """Persons by the second in which they were last active, the newest `SEEN_S` seconds of them.

    The last of `counts` is that of second `until`.
    """

    def __init__(self) -> None:
        self.until = 0
        self.counts: Counts = np.zeros(SEEN_S, np.int64)

    def move(self, before: Counts, after: Counts) -> None:
        """Persons were last active in seconds `before` (below 0: never), and now in `after`."""
        newest = max(self.until, int(after.max()))
        passed = min(newest - self.until, SEEN_S)
        self.counts = np.concatenate([self.counts[passed:], np.zeros(passed, np.int64)])
        self.until = newest
        for seconds, added in ((before, -1), (after, 1)):
            places = seconds - newest + SEEN_S - 1
            np.add.at(self.counts, places[places >= 0], added)


class ActiveAggregates:
    """Persons in the windows that end with each bucket, and when persons were last active."""

    def __init__(self, windows: int) -> None:
        self._windows = windows
        self._counts: dict[int, Counts] = {}
        self._newest = NEVER  # the newest bucket that anybody was active in
        self.seen = LastSeen()

    def __iter__(self) -> Iterator[int]:
        """The buckets that there are figures of."""
        return iter(self._counts)

    def apply(self, changes: ChangeRecords) -> set[int]:
        """Add what changed; returns the buckets that differ now, those let go of too."""
        seen = changes["window"] == SEEN
        differ: set[int] = set()
        if seen.any():
            self.seen.move(changes["begin"][seen], changes["end"][seen])
            differ.add(TOTAL)
        if not seen.all():
            differ |= self._count(changes[~seen])
        return differ

    def _count(self, changes: ChangeRecords) -> set[int]:
        # The shortest window is the bucket itself, which is new to everybody who is counted.
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

    def _added(self, changes: ChangeRecords, first: int) -> Iterator[tuple[int, Counts]]:
        """What is added to each bucket, from the `first` one on."""
        begins = np.maximum(changes["begin"], first)
        ends = np.maximum(changes["end"], first)
        low, high = int(begins.min()), int(ends.max())
        steps = np.zeros((high - low + 1, self._windows), np.int64)
        np.add.at(steps, (begins - low, changes["window"]), 1)
        np.add.at(steps, (ends - low, changes["window"]), -1)
        added = np.cumsum(steps, axis=0)
        for place in np.flatnonzero(added.any(axis=1)).tolist():
            yield low + place, added[place].copy()

    def counts(self, number: int) -> list[int]:
        """How many persons are in each of the windows that end with a bucket."""
        counts = self._counts.get(number)
        return [0] * self._windows if counts is None else counts.tolist()

    def record(self, number: int) -> Record | None:
        """What is published of a bucket; None if that is to be deleted."""
        if number not in self._counts:
            return None
        return {"persons": self.counts(number)}

    def whole(self) -> Record:
        """What is published of all buckets together."""
        used = np.flatnonzero(self.seen.counts)
        if not len(used):
            return {}
        return {"seen_until": self.seen.until, "seen": self.seen.counts[used[0] :].tolist()}

    def load(self, number: int, record: Record) -> None:
        """Take over a bucket as it was published."""
        self._counts[number] = np.array(record["persons"], np.int64)

    def load_whole(self, newest: int, record: Record) -> None:
        """Take over what was published of all buckets, of which `newest` is the newest."""
        self._newest = newest
        if record["seen"]:
            self.seen.until = record["seen_until"]
            self.seen.counts[SEEN_S - len(record["seen"]) :] = record["seen"]
