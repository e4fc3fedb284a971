"""The figures of one segment in one partition: who entered and left, day by day (UTC)."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipelines.engine.operator import TOTAL, ChangeRecords

_DAY_MS: Final = 86_400_000


class Moves(NamedTuple):
    """How often persons entered and left."""

    entered: int
    left: int


class SegmentAggregates:
    """Counts of moves, which add up: who entered and did not leave is in."""

    def __init__(self) -> None:
        self._days: dict[int, Moves] = {}

    def __iter__(self) -> Iterator[int]:
        """The days that there are figures of."""
        return (day for day in self._days if day != TOTAL)

    def apply(self, changes: ChangeRecords) -> set[int]:
        """Add what changed; returns the days whose figures differ now."""
        days, places = np.unique(changes["at"] // _DAY_MS, return_inverse=True)
        entered = np.bincount(places, changes["entered"], len(days))
        moved = np.bincount(places, minlength=len(days))
        for day, came, all_ in zip(days.tolist(), entered.tolist(), moved.tolist(), strict=True):
            for period in (day, TOTAL):
                before = self.of(period)
                self._days[period] = Moves(
                    before.entered + int(came), before.left + all_ - int(came)
                )
        return set(days.tolist())

    def of(self, day: int) -> Moves:
        """The moves of one day, or of all (`TOTAL`)."""
        return self._days.get(day, Moves(0, 0))

    def load(self, day: int, moves: Moves) -> None:
        """Take over figures as they were published."""
        self._days[day] = moves
