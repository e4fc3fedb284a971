"""One segment in one partition."""

from typing import Self

from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import ChangeRecords
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

    def succeed(self, recounted: Self) -> ChangeRecords:
        """Go on with a recounted state; return who is in now and was not, and who is out."""
        before, after = self.state, recounted.state
        super().succeed(recounted)
        return after.moves_since(before)
