"""Segments as an operator: the persons of whom a rule holds, who enters and who leaves."""

from collections.abc import Sequence

from pipelines.engine.operator import Kind, Look, Member
from pipelines.operators.segment.aggregates import SegmentFigures
from pipelines.operators.segment.program import compile_rule
from pipelines.operators.segment.publisher import KIND, SegmentResults
from pipelines.operators.segment.state import SegmentState
from schemas.operators.segment import SegmentDefinition, decode


def _looks(definition: SegmentDefinition) -> Sequence[Look]:
    return compile_rule(definition.rule).looks


def _reads(definition: SegmentDefinition) -> Sequence[Member]:
    return compile_rule(definition.rule).reads


def _state(definition: SegmentDefinition, lateness_ms: int) -> SegmentState:
    return SegmentState(compile_rule(definition.rule), lateness_ms)


def _figures(_: SegmentDefinition) -> SegmentFigures:
    return SegmentFigures()


SEGMENTS = Kind(KIND, decode, _looks, _state, _figures, SegmentResults, _reads)
