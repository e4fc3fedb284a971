"""Segments as an operator: the persons of whom a rule holds, who enters and who leaves."""

from collections.abc import Sequence

from pipelines.engine.operator import Operator
from pipelines.matching.selectors import ObjectMember
from pipelines.operators.segment.aggregates import SegmentAggregates
from pipelines.operators.segment.program import compile_rule
from pipelines.operators.segment.publisher import KIND, SegmentPublisher
from pipelines.operators.segment.state import SegmentState
from schemas.event_filter import EventSelector
from schemas.operators.segment import SegmentDefinition, decode


def _looks(definition: SegmentDefinition) -> Sequence[EventSelector]:
    return compile_rule(definition.rule).selectors


def _reads(definition: SegmentDefinition) -> Sequence[ObjectMember]:
    return compile_rule(definition.rule).reads


def _state(definition: SegmentDefinition, lateness_ms: int) -> SegmentState:
    return SegmentState(compile_rule(definition.rule), lateness_ms)


def _figures(_: SegmentDefinition) -> SegmentAggregates:
    return SegmentAggregates()


SEGMENT = Operator(KIND, decode, _looks, _state, _figures, SegmentPublisher, _reads)
