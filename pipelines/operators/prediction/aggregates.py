"""What one prediction has asked in one partition: counts that add up over partitions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipelines.engine.constants import DAY_MS, TOTAL
from pipelines.operators.prediction.state import PredictionChanges


class Asked(NamedTuple):
    """Questions, and events that asked nothing, by the reason."""

    questions: int = 0
    capped: int = 0
    sampled_out: int = 0
    late_triggers: int = 0


class PredictionAggregates:
    """Questions by the day (UTC) of the events that ask, and what was not asked."""

    def __init__(self) -> None:
        self._days: dict[int, int] = {}
        self._total = Asked()

    def __iter__(self) -> Iterator[int]:
        """Yield the days that have a record."""
        return iter(self._days)

    def apply(self, changes: PredictionChanges) -> set[int]:
        """Count changes; return the days whose record differs now, and `TOTAL`."""
        total, questions = self._total, len(changes.questions)
        self._total = Asked(
            total.questions + questions,
            total.capped + changes.capped,
            total.sampled_out + changes.sampled_out,
            total.late_triggers + changes.late_triggers,
        )
        days, counts = np.unique(changes.questions.at // DAY_MS, return_counts=True)
        for day, count in zip(days.tolist(), counts.tolist(), strict=True):
            self._days[day] = self._days.get(day, 0) + count
        return {*days.tolist(), *({TOTAL} if self._total != total else ())}

    def of(self, day: int) -> Asked:
        """Return what was asked on a day, or ever."""
        return self._total if day == TOTAL else Asked(self._days.get(day, 0))

    def load(self, day: int, asked: Asked) -> None:
        """Continue from a published record."""
        if day == TOTAL:
            self._total = asked
        else:
            self._days[day] = asked.questions

    def succeed(self, before: "PredictionAggregates") -> None:
        """Add an empty record for each day of `before`."""
        for day in before:
            self._days.setdefault(day, 0)
