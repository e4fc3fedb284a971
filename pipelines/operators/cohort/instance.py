"""One cohort in one partition."""

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.instance import OperatorInstance
from pipelines.operators.cohort.aggregates import CohortAggregates
from pipelines.operators.cohort.state import CohortState
from schemas.operators.cohort import CohortDefinition
from schemas.time.calendar import calendar


class CohortInstance(OperatorInstance[CohortDefinition, ValuedChanges]):
    """A cohort as one partition runs it."""

    def __init__(self, definition: CohortDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        cohort = definition.cohort
        broken_down = cohort.breakdown is not None
        self.state: CohortState = CohortState(
            cohort.periods,
            calendar(cohort.period, cohort.timezone, cohort.week_start),
            lateness_ms,
            broken_down=broken_down,
        )
        self.aggregates: CohortAggregates = CohortAggregates(
            cohort.periods, broken_down=broken_down
        )
