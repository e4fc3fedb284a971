"""Publish cohorts: aggregates that readers add up over partitions."""

from collections.abc import Generator, Mapping

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.cohort.instance import CohortInstance
from schemas.operators.cohort import COHORT
from schemas.registry.client import SchemaRegistry
from schemas.time.calendar import begin_of, number_of
from schemas.topics import Topics


class CohortPublisher:
    """Writes to `avila.cohorts`."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._aggregates = AggregatesTopic(
            COHORT.name,
            COHORT.aggregates.topic(topics),
            COHORT.aggregates.schema,
            "period",
            registry,
            outbox,
        )

    def changes(
        self, context: PartitionContext, changed: Changed[CohortInstance, ValuedChanges]
    ) -> None:
        """Publish nothing: a cohort has no topic of persons."""

    def expired(
        self, context: PartitionContext, expired: Changed[CohortInstance, ChangeRecords]
    ) -> None:
        """Publish nothing: time alone changes no cohort."""

    def aggregates(self, context: PartitionContext, instance: CohortInstance) -> None:
        """Publish the periods that are unpublished, and the total."""
        self._aggregates.publish(
            context,
            instance,
            lambda period: _record(instance, period),
            lambda period: _first_day(instance, period),
        )

    def restore(
        self, partition: int, instances: Mapping[Key, CohortInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps, and delete those of cohorts that have ended."""
        yield from self._aggregates.restore(partition, instances, reader, _load)

    def forget(self, context: PartitionContext, instance: CohortInstance) -> None:
        """Delete the aggregates of a cohort that ends."""
        self._aggregates.forget(
            context.partition, instance, lambda period: _first_day(instance, period)
        )

    def supersede(self, context: PartitionContext, instance: CohortInstance) -> None:
        """Publish nothing: records of all versions are published as they come."""


def _record(cohort: CohortInstance, period: int) -> Record:
    persons, returned, or_later = cohort.aggregates.counts(period)
    if period == TOTAL:
        returned, or_later = [], []
    return {
        "persons": persons,
        "returned": returned,
        "returned_or_later": or_later,
        "breakdown": cohort.aggregates.breakdown(period),
        "values_error": cohort.aggregates.values_error() if period == TOTAL else None,
    }


def _load(cohort: CohortInstance, record: Record) -> None:
    period = TOTAL
    if record["period"] is not None:
        first_day = begin_of("day", record["period"])
        period = number_of(cohort.definition.cohort.period, first_day)
    cohort.aggregates.load(period, record)


def _first_day(cohort: CohortInstance, period: int) -> int:
    return number_of("day", begin_of(cohort.definition.cohort.period, period))
