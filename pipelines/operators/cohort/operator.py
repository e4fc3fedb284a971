"""Cohorts as an operator: persons by the period in which they began, and when they came back."""

from typing import Final

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.operator import Operator
from pipelines.matching.selectors import ValueHash
from pipelines.operators.cohort.instance import CohortInstance
from pipelines.operators.cohort.publisher import CohortPublisher
from schemas.event_filter import EventFilter
from schemas.operators import cohort
from schemas.operators.cohort import CohortDefinition


def _selectors(definition: CohortDefinition) -> tuple[EventFilter, ...]:
    return definition.cohort.start, definition.cohort.returning  # bits STARTS and RETURNS


def _reads(definition: CohortDefinition) -> tuple[ValueHash, ...]:
    breakdown = definition.cohort.breakdown
    return () if breakdown is None else (ValueHash((breakdown.property,)),)


COHORT: Final[Operator[CohortDefinition, CohortInstance, ValuedChanges]] = Operator(
    cohort.COHORT, _selectors, CohortInstance, CohortPublisher, _reads
)
