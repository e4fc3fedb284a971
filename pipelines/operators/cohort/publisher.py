"""Publish cohorts: aggregates that readers add up over partitions."""

from pipelines.engine.aggregates_publisher import AggregatesPublisher
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Record
from pipelines.kafka.records import Outbox
from pipelines.operators.cohort.instance import CohortInstance
from schemas.operators.cohort import COHORT
from schemas.registry.client import SchemaRegistry
from schemas.time.calendar import begin_of, number_of
from schemas.topics import Topics


class CohortPublisher(AggregatesPublisher[CohortInstance, ValuedChanges]):
    """Writes to `avila.cohorts`."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        super().__init__(COHORT, "period", topics, registry, outbox)

    def record(self, instance: CohortInstance, period: int) -> Record:
        """Return the row of the grid of those who began in a period."""
        persons, returned, or_later = instance.aggregates.counts(period)
        if period == TOTAL:
            returned, or_later = [], []
        return {
            "persons": persons,
            "returned": returned,
            "returned_or_later": or_later,
            "breakdown": instance.aggregates.breakdown(period),
            "values_error": instance.aggregates.values_error() if period == TOTAL else None,
        }

    def load(self, instance: CohortInstance, record: Record) -> None:
        """Continue from a published row."""
        period = TOTAL
        if record["period"] is not None:
            first_day = begin_of("day", record["period"])
            cohort = instance.definition.cohort
            period = number_of(cohort.period, first_day, cohort.week_start)
        instance.aggregates.load(period, record)

    def begin(self, instance: CohortInstance, period: int) -> int:
        """Return the first day of a period."""
        cohort = instance.definition.cohort
        return number_of("day", begin_of(cohort.period, period, cohort.week_start))
