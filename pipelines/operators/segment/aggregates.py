"""The aggregates of one segment in one partition: who entered and left, by day."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import ChangeRecords
from schemas.time.buckets import DAY_S, Buckets


class Moves(NamedTuple):
    """How often persons entered and left."""

    entered: int
    left: int


class SegmentAggregates:
    """Counts of moves, which add up: who entered and has not left is in.

    Days are those of a time zone.
    """

    def __init__(self, timezone: str) -> None:
        self._calendar = Buckets(DAY_S, timezone)
        self._days: dict[int, Moves] = {}

    def __iter__(self) -> Iterator[int]:
        """Yield the days that have a record."""
        return (day for day in self._days if day != TOTAL)

    def apply(self, changes: ChangeRecords) -> set[int]:
        """Count changes; return the days whose record differs now."""
        days, places = np.unique(
            self._calendar.numbers(changes["at"].astype(np.int64)), return_inverse=True
        )
        entered = np.bincount(places, changes["entered"], len(days))
        left = np.bincount(places, 1 - changes["entered"], len(days))
        for day, came, went in zip(days.tolist(), entered.tolist(), left.tolist(), strict=True):
            for period in (day, TOTAL):
                before = self.of(period)
                self._days[period] = Moves(before.entered + int(came), before.left + int(went))
        return set(days.tolist())

    def succeed(self, before: "SegmentAggregates") -> None:
        """Add an empty record for each day of `before`."""
        for day in before:
            self._days.setdefault(day, Moves(0, 0))

    def of(self, day: int) -> Moves:
        """Return the moves of one day, or of `TOTAL`."""
        return self._days.get(day, Moves(0, 0))

    def load(self, day: int, moves: Moves) -> None:
        """Continue from published moves."""
        self._days[day] = moves
