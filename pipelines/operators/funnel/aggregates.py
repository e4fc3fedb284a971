"""The aggregates of one funnel in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel, register_example
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.operator import ChangeRecords, Record
from pipelines.operators.sequence import STEP_CHANGE
from schemas.sketches.durations import EDGES, EMPTY, GROWTH, Sketch, moved_by

_DAYS_BATCH: Final = 16  # bounds the memory that counting takes: days by steps by buckets
_NO_TIME: Final = 2**63 - 1  # no time is longer
_LOG_GROWTH: Final = float(np.log(GROWTH))


class FunnelAggregates:
    """Persons who reached each step, by entry day and in total, and how long they took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._reached: dict[int, Int64s] = {}
        self._times: dict[int, list[Sketch]] = {}

    def __iter__(self) -> Iterator[int]:
        """Yield the days that have a record, `TOTAL` if it has one."""
        return iter(self._reached)

    def apply(self, changes: ValuedChanges) -> set[int]:
        """Count changes; return the days whose record differs now."""
        records = changes.records
        days, places = number_days(records["day"])
        columns = (np.ascontiguousarray(records[name]) for name in ("step", "before", "after"))
        counted = _StepChanges(places, *columns)
        for first in range(0, len(days), _DAYS_BATCH):
            batch = days[first : first + _DAYS_BATCH]
            shape = len(batch), self._steps
            deltas = _Deltas(
                np.zeros(shape, np.int64),
                np.zeros(shape, np.int64),
                np.zeros((*shape, len(EDGES)), np.int64),
                np.full(shape, _NO_TIME, np.int64),
                np.full(shape, -1, np.int64),
            )
            _count(counted, first, EDGES, deltas)
            for day, *delta in zip(batch, *deltas, strict=True):
                self._add(day, *delta)
        return set(days)

    def _add(
        self,
        day: int,
        reached: Int64s,
        sums: Int64s,
        buckets: Int64s,
        shortest: Int64s,
        longest: Int64s,
    ) -> None:
        known = self._reached.get(day)
        self._reached[day] = reached if known is None else known + reached
        if day != TOTAL:
            times = self._times.setdefault(day, [EMPTY] * self._steps)
            # A time may change without leaving its bucket.
            for step in np.flatnonzero(buckets.any(axis=1) | (sums != 0)).tolist():
                times[step] = moved_by(
                    times[step],
                    buckets[step],
                    int(sums[step]),
                    int(shortest[step]),
                    int(longest[step]),
                )

    def succeed(self, before: "FunnelAggregates") -> None:
        """Add an empty record for each day of `before`."""
        for day in before:
            self._reached.setdefault(day, np.zeros(self._steps, np.int64))
            if day != TOTAL:
                self._times.setdefault(day, [EMPTY] * self._steps)

    def reached(self, day: int) -> list[int]:
        """Return how many persons reached each step."""
        reached = self._reached.get(day)
        return [0] * self._steps if reached is None else reached.tolist()

    def times(self, day: int) -> list[Sketch]:
        """Return how long persons took to each step; empty for the total."""
        return self._times.get(day, [])

    def entries(self, day: int) -> list[int]:  # noqa: ARG002 (only persons are counted)
        """Return how many attempts reached each step; empty if they are not counted."""
        return []

    def breakdown(self, day: int) -> list[Record]:  # noqa: ARG002 (there is none)
        """Return the counts of each value; empty if the funnel is not broken down."""
        return []

    def values_error(self) -> int | None:
        """Return None: there are no values."""
        return None

    @staticmethod
    def person_changes(changes: ValuedChanges) -> ChangeRecords:
        """Return the changes that are published for persons."""
        return changes.records

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels."""
        cls(1).apply(ValuedChanges(np.zeros(1, STEP_CHANGE)))

    def load(self, day: int, record: Record) -> None:
        """Continue from a published record."""
        self._reached[day] = np.array(record["reached"], np.int64)
        if day != TOTAL:
            self._times[day] = [
                Sketch(
                    np.array(time["buckets"], np.int32),
                    np.array(time["counts"], np.int64),
                    time["sum_ms"],
                    time.get("min_ms"),
                    time.get("max_ms"),
                )
                for time in record["times"]
            ]


register_example(FunnelAggregates.precompile)


def number_days(days: Int32s) -> tuple[list[int], Int64s]:
    """Return the distinct days in order of appearance, and the place of each day among them."""
    places = np.empty(len(days), np.int64)
    distinct = np.empty(len(days), np.int64)
    count = _number(np.ascontiguousarray(days), distinct, places)
    return distinct[:count].tolist(), places


class _StepChanges(NamedTuple):
    """Columns of `STEP_CHANGE`, and the place of each change's day."""

    places: Int64s
    steps: Int32s
    before: Int64s
    after: Int64s


class _Deltas(NamedTuple):
    """By day and step: what is added to the persons, to the sum of times, and to its buckets.

    Beside that, the shortest and the longest of the times that are added.
    """

    reached: Int64s
    sums: Int64s
    buckets: Int64s
    shortest: Int64s
    longest: Int64s


@kernel
def _number(days: Int32s, distinct: Int64s, places: Int64s) -> Int:
    # There are few days, and most changes have the day of the change before.
    count = last = 0
    for i in range(len(days)):
        if count == 0 or distinct[last] != days[i]:
            last = 0
            while last < count and distinct[last] != days[i]:
                last += 1
            if last == count:
                distinct[count] = days[i]
                count += 1
        places[i] = last
    return count


@kernel
def _count(changes: _StepChanges, first: Int, edges: Int64s, deltas: _Deltas) -> None:
    """Count the changes of the days from the `first` on that there are deltas for."""
    before, after = changes.before, changes.after
    reached, sums, buckets = deltas.reached, deltas.sums, deltas.buckets
    shortest, longest = deltas.shortest, deltas.longest
    for i in range(len(changes.places)):
        day, step = changes.places[i] - first, changes.steps[i]
        if day < 0 or day >= len(reached):
            continue
        if before[i] == NONE:
            reached[day, step] += 1
        else:
            buckets[day, step, _bucket(edges, before[i])] -= 1
            sums[day, step] -= before[i]
        if after[i] == NONE:
            reached[day, step] -= 1
        else:
            buckets[day, step, _bucket(edges, after[i])] += 1
            sums[day, step] += after[i]
            shortest[day, step] = min(shortest[day, step], after[i])
            longest[day, step] = max(longest[day, step], after[i])


@kernel
def _bucket(edges: Int64s, ms: Int) -> Int:
    """Return what `schemas.sketches.durations.bucket_of` does: a guess, then corrected."""
    bucket: Int = min(np.int64(np.log(max(ms, 1)) / _LOG_GROWTH), len(edges) - 1)
    while edges[bucket] < ms:
        bucket += 1
    while bucket > 0 and edges[bucket - 1] >= ms:
        bucket -= 1
    return bucket
