"""What the cohorts publish: figures that readers add up over partitions."""

from collections.abc import Generator, Mapping
from typing import Final

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.operator import TOTAL, Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.cohort.instance import CohortInstance
from schemas.registry.client import SchemaRegistry
from schemas.time.calendar import begin_of, number_of
from schemas.topics import Topics

KIND: Final = "cohort"


class CohortPublisher:
    """Writes to `avila.cohorts`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND, topics.cohorts, "cohort-result", "period", registry, outbox
        )

    def changes(
        self, context: PartitionContext, changed: Changed[CohortInstance, ValuedChanges]
    ) -> None:
        """Nothing: what one person does in a cohort is announced nowhere."""

    def expired(
        self, context: PartitionContext, expired: Changed[CohortInstance, ChangeRecords]
    ) -> None:
        """Nothing: time alone changes no cohort."""

    def aggregates(self, context: PartitionContext, instance: CohortInstance) -> None:
        """Publish the periods that are not published yet, and the whole."""
        self._figures.publish(
            context,
            instance,
            lambda period: _record(instance, period),
            lambda period: _first_day(instance, period),
        )

    def restore(
        self, partition: int, instances: Mapping[Key, CohortInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Take over the published figures, in steps; delete those of cohorts that have ended."""
        yield from self._figures.restore(partition, instances, reader, _take)

    def forget(self, context: PartitionContext, instance: CohortInstance) -> None:
        """Delete the figures of a cohort that has ended."""
        self._figures.forget(
            context.partition, instance, lambda period: _first_day(instance, period)
        )


def _record(instance: CohortInstance, period: int) -> Record:
    persons, returned, or_later = instance.aggregates.counts(period)
    if period == TOTAL:
        returned, or_later = [], []
    return {
        "persons": persons,
        "returned": returned,
        "returned_or_later": or_later,
        "breakdown": instance.aggregates.breakdown(period),
    }


def _take(instance: CohortInstance, record: Record) -> None:
    period = TOTAL
    if record["period"] is not None:
        first_day = begin_of("day", record["period"])
        period = number_of(instance.definition.cohort.period, first_day)
    instance.aggregates.load(period, record)


def _first_day(instance: CohortInstance, period: int) -> int:
    return number_of("day", begin_of(instance.definition.cohort.period, period))
