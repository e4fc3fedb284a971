"""Segments as an operator: the persons of whom a rule holds, who enters and who leaves."""

from collections.abc import Sequence

from pipelines.operators import Kind, Look, Member
from pipelines.segment_figures import SegmentFigures
from pipelines.segment_program import compile_rule
from pipelines.segment_results import KIND, SegmentResults
from pipelines.segment_state import SegmentState
from schemas.segments import SegmentDefinition, decode


def _looks(definition: SegmentDefinition) -> Sequence[Look]:
    return compile_rule(definition.rule).looks


def _reads(definition: SegmentDefinition) -> Sequence[Member]:
    return compile_rule(definition.rule).reads


def _state(definition: SegmentDefinition, lateness_ms: int) -> SegmentState:
    return SegmentState(compile_rule(definition.rule), lateness_ms)


def _figures(_: SegmentDefinition) -> SegmentFigures:
    return SegmentFigures()


SEGMENTS = Kind(KIND, decode, _looks, _state, _figures, SegmentResults, _reads)
