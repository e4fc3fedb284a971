"""What the metrics publish: figures that readers merge over partitions."""

from collections.abc import Generator, Mapping
from typing import Any, Final

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.operator import NEVER, TOTAL, Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.metric.instance import MetricInstance
from pipelines.operators.metric.kernel import Tallies
from schemas.registry.client import SchemaRegistry
from schemas.topics import Topics

KIND: Final = "metric"
_NOTHING: Final[dict[str, Any]] = {
    "events": 0,
    "unmeasured": 0,
    "sum": 0.0,
    "persons": [],
    "seen": [],
}


class MetricPublisher:
    """Writes to `avila.metrics`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND, topics.metrics, "metric-result", "bucket", registry, outbox
        )

    def changes(
        self, context: PartitionContext, changed: Changed[MetricInstance, Tallies | ChangeRecords]
    ) -> None:
        """Nothing: what one event does is announced nowhere."""

    def expired(
        self, context: PartitionContext, expired: Changed[MetricInstance, ChangeRecords]
    ) -> None:
        """Nothing: time alone changes no bucket."""

    def aggregates(self, context: PartitionContext, instance: MetricInstance) -> None:
        """Publish the buckets that are not published yet, and the whole."""
        buckets = instance.buckets
        self._figures.publish(
            context, instance, lambda number: record_of(instance, number), buckets.begin
        )

    def restore(
        self, partition: int, instances: Mapping[Key, MetricInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Take over the published figures, in steps; delete those of metrics that have ended."""
        yield from self._figures.restore(partition, instances, reader, take)

    def forget(self, context: PartitionContext, instance: MetricInstance) -> None:
        """Delete the figures of a metric that has ended."""
        self._figures.forget(context.partition, instance, instance.buckets.begin)


def record_of(instance: MetricInstance, number: int) -> Record | None:
    """What is published of a bucket, or of the whole (`TOTAL`); None if it is to be deleted."""
    if number != TOTAL:
        of_bucket = instance.aggregates.record(number)
        return None if of_bucket is None else {**_NOTHING, **of_bucket}
    state = instance.state
    whole = {**_NOTHING, **instance.aggregates.whole()}
    if state.newest != NEVER:
        whole["newest_at"] = state.newest
        whole["complete_until"] = state.newest - state.lateness_ms
    return whole


def take(instance: MetricInstance, record: Record) -> None:
    """Go on from a published record."""
    buckets = instance.buckets
    if record["bucket"] is not None:
        instance.aggregates.load(buckets.number(record["bucket"]), record)
    elif record["newest_at"] is not None:
        instance.state.newest = record["newest_at"]
        instance.aggregates.load_whole(buckets.number(record["newest_at"]), record)
