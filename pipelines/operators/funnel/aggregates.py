"""The figures of one funnel in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel, register_example
from pipelines.engine.operator import TOTAL, Changes
from pipelines.operators.sequence.kernel import CHANGE, UNSET
from schemas.sketches.durations import EDGES, EMPTY, GROWTH, Sketch, moved_by

_DAYS_BATCH: Final = 16  # bounds what counting takes: days by steps by buckets
_LOG_GROWTH: Final = float(np.log(GROWTH))


class FunnelAggregates:
    """Persons who reached each step, by entry day and in total (`TOTAL`), and their times."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._reached: dict[int, Int64s] = {}
        self._times: dict[int, list[Sketch]] = {}

    def __iter__(self) -> Iterator[int]:
        """The days that there are figures of."""
        return iter(self._reached)

    def apply(self, changes: Changes) -> set[int]:
        """Add what changed; returns the days whose figures differ now."""
        days, places = numbered(changes["day"])
        steps = np.ascontiguousarray(changes["step"])
        before, after = (np.ascontiguousarray(changes[time]) for time in ("before", "after"))
        for first in range(0, len(days), _DAYS_BATCH):
            own = days[first : first + _DAYS_BATCH]
            reached = np.zeros((len(own), self._steps), np.int64)
            sums = np.zeros_like(reached)
            moved = np.zeros((*reached.shape, len(EDGES)), np.int64)
            _count(places, first, steps, before, after, EDGES, reached, sums, moved)
            for place, day in enumerate(own):
                self._add(day, reached[place], moved[place], sums[place])
        return set(days)

    def _add(self, day: int, reached: Int64s, moved: Int64s, sums: Int64s) -> None:
        known = self._reached.get(day)
        self._reached[day] = reached if known is None else known + reached
        if day != TOTAL:
            times = self._times.setdefault(day, [EMPTY] * self._steps)
            # A time may change and stay in its bucket.
            for step in np.flatnonzero(moved.any(axis=1) | (sums != 0)).tolist():
                times[step] = moved_by(times[step], moved[step], int(sums[step]))

    def reached(self, day: int) -> list[int]:
        """Persons who reached each step."""
        reached = self._reached.get(day)
        return [0] * self._steps if reached is None else reached.tolist()

    def times(self, day: int) -> list[Sketch]:
        """How long they took to each step; none for the total."""
        return self._times.get(day, [])

    def entries(self, day: int) -> list[int]:  # noqa: ARG002 (only persons are counted)
        """Chains that reached each step; none where they are not counted."""
        return []

    def breakdown(self, day: int) -> list[dict[str, Any]]:  # noqa: ARG002 (there is none)
        """The figures of each value of a property; none where there is no such property."""
        return []

    @staticmethod
    def of_persons(changes: Changes) -> Changes:
        """Those of the changes that tell of persons, and are to be announced."""
        return changes

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled."""
        cls(1).apply(np.zeros(1, CHANGE))

    def load(self, day: int, record: dict[str, Any]) -> None:
        """Take over figures as they were published."""
        self._reached[day] = np.array(record["reached"], np.int64)
        if day != TOTAL:
            self._times[day] = [
                Sketch(
                    np.array(time["buckets"], np.int32),
                    np.array(time["counts"], np.int64),
                    time["sum_ms"],
                )
                for time in record["times"]
            ]


register_example(FunnelAggregates.precompile)


def numbered(days: Int32s) -> tuple[list[int], Int64s]:
    """The days that there are, in order of appearance, and the place of each one among them."""
    places = np.empty(len(days), np.int64)
    known = np.empty(len(days), np.int64)
    count = _number(np.ascontiguousarray(days), known, places)
    return known[:count].tolist(), places


@kernel
def _number(days: Int32s, known: Int64s, places: Int64s) -> Int:
    # They are few, and mostly the one before comes again.
    count = last = 0
    for i in range(len(days)):
        if count == 0 or known[last] != days[i]:
            last = 0
            while last < count and known[last] != days[i]:
                last += 1
            if last == count:
                known[count] = days[i]
                count += 1
        places[i] = last
    return count


@kernel
def _count(
    places: Int64s,
    first: Int,
    steps: Int32s,
    before: Int64s,
    after: Int64s,
    edges: Int64s,
    reached: Int64s,
    sums: Int64s,
    moved: Int64s,
) -> None:
    """Count the changes of `len(reached)` days from the `first` one on, each in its own cell."""
    for i in range(len(places)):
        day, step = places[i] - first, steps[i]
        if day < 0 or day >= len(reached):
            continue
        if before[i] == UNSET:
            reached[day, step] += 1
        else:
            moved[day, step, _bucket(edges, before[i])] -= 1
            sums[day, step] -= before[i]
        if after[i] == UNSET:
            reached[day, step] -= 1
        else:
            moved[day, step, _bucket(edges, after[i])] += 1
            sums[day, step] += after[i]


@kernel
def _bucket(edges: Int64s, ms: Int) -> Int:
    """As `schemas.sketches.durations.bucket_of`: a guess, put right."""
    bucket: Int = min(np.int64(np.log(max(ms, 1)) / _LOG_GROWTH), len(edges) - 1)
    while edges[bucket] < ms:
        bucket += 1
    while bucket > 0 and edges[bucket - 1] >= ms:
        bucket -= 1
    return bucket
