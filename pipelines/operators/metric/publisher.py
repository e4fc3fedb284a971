"""Publish metrics: aggregates that readers merge over partitions."""

from collections.abc import Generator, Mapping
from typing import Final

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.operator import Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.metric.instance import MetricInstance
from pipelines.operators.metric.state import BucketAggregates
from schemas.operators.metric import METRIC
from schemas.registry.client import SchemaRegistry
from schemas.topics import Topics

# The fields that not every measure has.
_EMPTY: Final[Record] = {"events": 0, "unmeasured": 0, "sum": 0.0, "persons": [], "seen": []}


class MetricPublisher:
    """Writes to `avila.metrics`."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._aggregates = AggregatesTopic(
            METRIC.name,
            METRIC.aggregates.topic(topics),
            METRIC.aggregates.schema,
            "bucket",
            registry,
            outbox,
        )

    def changes(
        self,
        context: PartitionContext,
        changed: Changed[MetricInstance, BucketAggregates | ChangeRecords],
    ) -> None:
        """Publish nothing: a metric has no topic of persons."""

    def expired(
        self, context: PartitionContext, expired: Changed[MetricInstance, ChangeRecords]
    ) -> None:
        """Publish nothing: time alone changes no bucket."""

    def aggregates(self, context: PartitionContext, instance: MetricInstance) -> None:
        """Publish the buckets that are unpublished, and the total."""
        begin_of = instance.buckets.begin
        self._aggregates.publish(
            context, instance, lambda number: record_of(instance, number), begin_of
        )

    def restore(
        self, partition: int, instances: Mapping[Key, MetricInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps, and delete those of metrics that have ended."""
        yield from self._aggregates.restore(partition, instances, reader, load)

    def forget(self, context: PartitionContext, instance: MetricInstance) -> None:
        """Delete the aggregates of a metric that ends."""
        self._aggregates.forget(context.partition, instance, instance.buckets.begin)

    def supersede(self, context: PartitionContext, instance: MetricInstance) -> None:
        """Publish nothing: records of all versions are published as they come."""


def record_of(metric: MetricInstance, number: int) -> Record | None:
    """Return what is published of a bucket, or of `TOTAL`; None if it is to be deleted."""
    if number != TOTAL:
        record = metric.aggregates.record(number)
        return None if record is None else {**_EMPTY, **record}
    total = {**_EMPTY, **metric.aggregates.total_record()}
    newest = metric.state.newest
    if newest != NEVER:
        total["newest_at"] = newest
        total["complete_until"] = newest - metric.state.lateness_ms
    return total


def load(metric: MetricInstance, record: Record) -> None:
    """Continue from a published record."""
    if record["bucket"] is not None:
        metric.aggregates.load(metric.buckets.number(record["bucket"]), record)
    elif record["newest_at"] is not None:
        metric.state.newest = record["newest_at"]
        metric.aggregates.load_total(metric.buckets.number(record["newest_at"]), record)
