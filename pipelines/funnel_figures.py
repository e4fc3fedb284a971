"""The figures of one funnel in one partition: counts of persons that add up over partitions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.funnel_fold import UNSET
from pipelines.operators import TOTAL, Changes
from schemas.sketch import EMPTY, Sketch, bucket_of, merge


class FunnelFigures:
    """Persons who reached each step, by entry day and in total (`TOTAL`), and their times."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._reached: dict[int, NDArray[np.int64]] = {}
        self._times: dict[int, list[Sketch]] = {}

    def __iter__(self) -> Iterator[int]:
        """The days that there are figures of."""
        return iter(self._reached)

    def apply(self, changes: Changes) -> set[int]:
        """Add what changed; returns the days whose figures differ now."""
        days = np.unique(changes["day"]).tolist()
        for day in days:
            of_day = np.flatnonzero(changes["day"] == day)
            steps, before = changes["step"][of_day], changes["before"][of_day]
            after = changes["after"][of_day]
            reached = self._reached.setdefault(day, np.zeros(self._steps, np.int64))
            np.add.at(reached, steps[before == UNSET], 1)
            np.add.at(reached, steps[after == UNSET], -1)
            if day != TOTAL:
                times = self._times.setdefault(day, [EMPTY] * self._steps)
                for step in np.unique(steps).tolist():
                    of_step = steps == step
                    times[step] = _moved(times[step], before[of_step], after[of_step])
        return set(days)

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


def _moved(times: Sketch, before: NDArray[np.int64], after: NDArray[np.int64]) -> Sketch:
    gone, new = before[before != UNSET], after[after != UNSET]
    moved = Sketch(
        bucket_of(np.concatenate([new, gone])),
        np.repeat(np.array([1, -1], np.int64), [len(new), len(gone)]),
        int(new.sum()) - int(gone.sum()),
    )
    return merge([times, moved])
