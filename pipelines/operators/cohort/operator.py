"""Cohorts as an operator: persons by the period in which they began, and when they came back."""

from pipelines.engine.operator import Alike, Kind
from pipelines.operators.cohort.aggregates import CohortFigures
from pipelines.operators.cohort.publisher import KIND, CohortResults
from pipelines.operators.cohort.state import CohortState
from schemas.operators.cohort import CohortDefinition, Occasion, decode
from schemas.time.calendar import calendar


def _looks(definition: CohortDefinition) -> tuple[Occasion, ...]:
    return definition.cohort.start, definition.cohort.returning


def _reads(definition: CohortDefinition) -> tuple[Alike, ...]:
    breakdown = definition.cohort.breakdown
    return () if breakdown is None else (Alike((breakdown.property,)),)


def _state(definition: CohortDefinition, lateness_ms: int) -> CohortState:
    cohort = definition.cohort
    return CohortState(
        cohort.periods,
        calendar(cohort.period, cohort.timezone),
        lateness_ms,
        broken_down=cohort.breakdown is not None,
    )


def _figures(definition: CohortDefinition) -> CohortFigures:
    cohort = definition.cohort
    return CohortFigures(cohort.periods, broken_down=cohort.breakdown is not None)


COHORTS = Kind(KIND, decode, _looks, _state, _figures, CohortResults, _reads)
