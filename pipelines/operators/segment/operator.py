"""Segments as an operator: the persons of whom a rule holds, who enters and who leaves."""

from collections.abc import Sequence
from typing import Final

from pipelines.engine.operator import ChangeRecords, Operator
from pipelines.matching.selectors import ObjectMember
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.instance import SegmentInstance
from pipelines.operators.segment.publisher import SegmentPublisher
from schemas.event_filter import EventSelector
from schemas.operators import segment
from schemas.operators.segment import SegmentDefinition


def _selectors(definition: SegmentDefinition) -> Sequence[EventSelector]:
    return compile_rule(definition.rule).selectors


def _reads(definition: SegmentDefinition) -> Sequence[ObjectMember]:
    return compile_rule(definition.rule).reads


SEGMENT: Final[Operator[SegmentDefinition, SegmentInstance, ChangeRecords]] = Operator(
    segment.SEGMENT, _selectors, SegmentInstance, SegmentPublisher, _reads
)
