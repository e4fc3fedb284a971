"""What the metrics publish: figures that readers merge over partitions."""

from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.operator import NEVER, TOTAL, Changed, Key, OperatorInstance, PartitionContext
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from schemas.operators.metric import METRIC
from schemas.registry.client import SchemaRegistry
from schemas.time.buckets import Buckets
from schemas.topics import Topics

KIND: Final = "metric"
_NOTHING: Final[dict[str, Any]] = {
    "events": 0,
    "unmeasured": 0,
    "sum": 0.0,
    "persons": [],
    "seen": [],
}


class _Measuring(Protocol):
    """The state of a metric, of whatever measure."""

    newest: int
    lateness_ms: int


class MetricPublisher:
    """Writes to `avila.metrics`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND,
            METRIC.aggregates.topic(topics),
            METRIC.aggregates.schema,
            "bucket",
            registry,
            outbox,
        )

    def changes(self, context: PartitionContext, changed: Changed) -> None:
        """Nothing: what one event does is announced nowhere."""

    def expired(self, context: PartitionContext, changed: Changed) -> None:
        """Nothing: time alone changes no bucket."""

    def aggregates(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Publish the buckets that are not published yet, and the whole."""
        buckets = buckets_of(instances)
        self._figures.publish(
            context, instances, lambda number: record_of(instances, number), buckets.begin
        )

    def restore(
        self, partition: int, instances: dict[Key, OperatorInstance], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of metrics that have ended."""
        return self._figures.restore(partition, instances, reader, take)

    def forget(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Delete the figures of a metric that has ended."""
        self._figures.forget(context.partition, instances, buckets_of(instances).begin)


def buckets_of(instances: OperatorInstance) -> Buckets:
    """The buckets of a metric."""
    metric = instances.definition.metric
    return Buckets(metric.bucket_s, metric.timezone)


def record_of(instances: OperatorInstance, number: int) -> dict[str, Any] | None:
    """What is published of a bucket, or of the whole (`TOTAL`); None if it is to be deleted."""
    if number != TOTAL:
        of_bucket: dict[str, Any] | None = instances.aggregates.record(number)
        return None if of_bucket is None else _NOTHING | of_bucket
    state = cast(_Measuring, instances.state)
    whole: dict[str, Any] = _NOTHING | instances.aggregates.whole()
    if state.newest != NEVER:
        whole["newest_at"] = state.newest
        whole["complete_until"] = state.newest - state.lateness_ms
    return whole


def take(instances: OperatorInstance, record: dict[str, Any]) -> None:
    """Go on from a published record."""
    buckets = buckets_of(instances)
    if record["bucket"] is not None:
        instances.aggregates.load(buckets.number(record["bucket"]), record)
    elif record["newest_at"] is not None:
        cast(_Measuring, instances.state).newest = record["newest_at"]
        instances.aggregates.load_whole(buckets.number(record["newest_at"]), record)
