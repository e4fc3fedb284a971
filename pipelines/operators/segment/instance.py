"""One segment in one partition."""

from typing import Self

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.history import SelectedEvents
from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import ChangeRecords, FoldResult
from pipelines.operators.segment.aggregates import SegmentAggregates
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.state import SegmentState
from schemas.operators.segment import SegmentDefinition


class SegmentInstance(OperatorInstance[SegmentDefinition, ChangeRecords]):
    """A segment as one partition runs it."""

    def __init__(self, definition: SegmentDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        self.state: SegmentState = SegmentState(compile_rule(definition.rule), lateness_ms)
        self.aggregates: SegmentAggregates = SegmentAggregates()

    def fold(
        self, persons: int, events: SelectedEvents, times_of_day: Int64s
    ) -> FoldResult[ChangeRecords]:
        """Fold events; one that is dated ahead of the time of day moves nobody by that."""
        clocks = np.minimum(events.at, times_of_day)
        return self.state.fold(persons, *events, clocks=clocks)

    def succeed(self, recounted: Self) -> ChangeRecords:
        """Go on with a recounted state; return who is in now and was not, and who is out."""
        before, after = self.state, recounted.state
        super().succeed(recounted)
        return after.moves_since(before)
