"""Cohorts as an operator: persons by the period in which they began, and when they came back."""

from pipelines.cohort_figures import CohortFigures
from pipelines.cohort_results import KIND, CohortResults
from pipelines.cohort_state import CohortState
from pipelines.operators import Alike, Kind
from schemas.calendar import calendar
from schemas.cohorts import CohortDefinition, Occasion, decode


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
