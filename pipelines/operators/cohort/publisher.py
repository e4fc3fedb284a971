"""What the cohorts publish: figures that readers add up over partitions."""

from collections.abc import Iterator
from typing import Any, Final

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.operator import TOTAL, Changed, Key, OperatorInstance, PartitionContext
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from schemas.operators.cohort import COHORT
from schemas.registry.client import SchemaRegistry
from schemas.time.calendar import begin_of, number_of
from schemas.topics import Topics

KIND: Final = "cohort"


class CohortPublisher:
    """Writes to `avila.cohorts`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND,
            COHORT.aggregates.topic(topics),
            COHORT.aggregates.schema,
            "period",
            registry,
            outbox,
        )

    def changes(self, context: PartitionContext, changed: Changed) -> None:
        """Nothing: what one person does in a cohort is announced nowhere."""

    def expired(self, context: PartitionContext, changed: Changed) -> None:
        """Nothing: time alone changes no cohort."""

    def aggregates(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Publish the periods that are not published yet, and the whole."""
        self._figures.publish(
            context,
            instances,
            lambda period: _record(instances, period),
            lambda period: _first_day(instances, period),
        )

    def restore(
        self, partition: int, instances: dict[Key, OperatorInstance], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of cohorts that have ended."""
        return self._figures.restore(partition, instances, reader, _take)

    def forget(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Delete the figures of a cohort that has ended."""
        self._figures.forget(
            context.partition, instances, lambda period: _first_day(instances, period)
        )


def _record(instances: OperatorInstance, period: int) -> dict[str, Any]:
    persons, returned, or_later = instances.aggregates.counts(period)
    if period == TOTAL:
        returned, or_later = [], []
    return {
        "persons": persons,
        "returned": returned,
        "returned_or_later": or_later,
        "breakdown": instances.aggregates.breakdown(period),
    }


def _take(instances: OperatorInstance, record: dict[str, Any]) -> None:
    period = TOTAL
    if record["period"] is not None:
        first_day = begin_of("day", record["period"])
        period = number_of(instances.definition.cohort.period, first_day)
    instances.aggregates.load(period, record)


def _first_day(instances: OperatorInstance, period: int) -> int:
    return number_of("day", begin_of(instances.definition.cohort.period, period))
