"""Cohorts as an operator: persons by the period in which they began, and when they came back."""

from pipelines.engine.operator import Operator
from pipelines.matching.selectors import ValueHash
from pipelines.operators.cohort.aggregates import CohortAggregates
from pipelines.operators.cohort.publisher import KIND, CohortPublisher
from pipelines.operators.cohort.state import CohortState
from schemas.event_filter import EventFilter
from schemas.operators.cohort import CohortDefinition, decode
from schemas.time.calendar import calendar


def _looks(definition: CohortDefinition) -> tuple[EventFilter, ...]:
    return definition.cohort.start, definition.cohort.returning


def _reads(definition: CohortDefinition) -> tuple[ValueHash, ...]:
    breakdown = definition.cohort.breakdown
    return () if breakdown is None else (ValueHash((breakdown.property,)),)


def _state(definition: CohortDefinition, lateness_ms: int) -> CohortState:
    cohort = definition.cohort
    return CohortState(
        cohort.periods,
        calendar(cohort.period, cohort.timezone),
        lateness_ms,
        broken_down=cohort.breakdown is not None,
    )


def _figures(definition: CohortDefinition) -> CohortAggregates:
    cohort = definition.cohort
    return CohortAggregates(cohort.periods, broken_down=cohort.breakdown is not None)


COHORT = Operator(KIND, decode, _looks, _state, _figures, CohortPublisher, _reads)
