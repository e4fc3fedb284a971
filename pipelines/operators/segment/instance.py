"""One segment in one partition."""

from typing import Self

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.jit import Int32s
from pipelines.engine.clocked_instance import ClockedInstance
from pipelines.engine.operator import ChangeRecords
from pipelines.operators.segment.aggregates import SegmentAggregates
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.state import SegmentState
from schemas.operators.segment import SegmentDefinition
from schemas.score_order import ordered_all


class SegmentInstance(ClockedInstance[SegmentDefinition, ChangeRecords]):
    """A segment as one partition runs it."""

    def __init__(self, definition: SegmentDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        self.state: SegmentState = SegmentState(compile_rule(definition.rule), lateness_ms)
        self.aggregates: SegmentAggregates = SegmentAggregates(definition.segment.timezone)
        self.predictions = frozenset(self.state.scores)

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
