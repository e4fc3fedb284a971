"""One segment in one partition."""

from typing import Self

import numpy as np

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.history import SelectedEvents
from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import ChangeRecords, FoldResult
from pipelines.operators.segment.aggregates import SegmentAggregates
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.state import SegmentState
from schemas.operators.segment import SegmentDefinition
from schemas.score_order import ordered_all


class SegmentInstance(OperatorInstance[SegmentDefinition, ChangeRecords]):
    """A segment as one partition runs it."""

    def __init__(self, definition: SegmentDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        self.state: SegmentState = SegmentState(compile_rule(definition.rule), lateness_ms)
        self.aggregates: SegmentAggregates = SegmentAggregates()
        self.predictions = frozenset(self.state.scores)

    def fold(
        self, persons: int, events: SelectedEvents, times_of_day: Int64s
    ) -> FoldResult[ChangeRecords]:
        """Fold events; one that is dated ahead of the time of day moves nobody by that."""
        clocks = np.minimum(events.at, times_of_day)
        return self.state.fold(persons, *events, clocks=clocks)

    def take_scores(self, persons: int, prediction: str, slots: Int32s, scores: Float64s) -> None:
        """Take the newest scores of a prediction; the next commit logs the rows that differ."""
        cell = self.state.scores[prediction]
        with self.failing_alone():
            rows = self.state.take_scores(persons, cell, slots, ordered_all(scores))
            if len(rows):
                self.flush_now.append(rows)

    def take_scores_of(self, before: SegmentState) -> None:
        """Take over the scores of a state of the same persons, and count whom they move."""
        self.state.take_scores_of(before)
        clock = self.state.clock
        while clock is not None and (expired := self.state.expire(clock)) is not None:
            if expired.changes is not None:
                self.aggregates.apply(expired.changes)

    def succeed(self, recounted: Self) -> ChangeRecords:
        """Go on with a recounted state; return who is in now and was not, and who is out."""
        before, after = self.state, recounted.state
        recounted.take_scores_of(before)
        super().succeed(recounted)
        return after.moves_since(before)
