"""Publish metrics: aggregates that readers merge over partitions."""

from typing import Final

from pipelines.engine.aggregates_publisher import AggregatesPublisher
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.operator import Record
from pipelines.kafka.records import Outbox
from pipelines.operators.metric.instance import MetricInstance
from pipelines.operators.metric.state import MetricChanges
from schemas.operators.metric import METRIC
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

# The fields that not every measure has.
_EMPTY: Final[Record] = {
    "events": 0,
    "unmeasured": 0,
    "sum": 0.0,
    "persons": [],
    "breakdown": [],
    "seen": [],
}


class MetricPublisher(AggregatesPublisher[MetricInstance, MetricChanges | ValuedChanges]):
    """Writes to `avila.metrics`."""

    def __init__(self, settings: Settings, registry: SchemaRegistry, outbox: Outbox) -> None:
        super().__init__(METRIC, "bucket", settings.topics, registry, outbox)

    def record(self, instance: MetricInstance, period: int) -> Record | None:
        """Return what was measured in a bucket."""
        return record_of(instance, period)

    def load(self, instance: MetricInstance, record: Record) -> None:
        """Continue from a published bucket."""
        load(instance, record)

    def begin(self, instance: MetricInstance, period: int) -> int:
        """Return when a bucket begins (ms)."""
        return instance.buckets.begin(period)


def record_of(metric: MetricInstance, number: int) -> Record | None:
    """Return what is published of a bucket, or of `TOTAL`; None if it is to be deleted."""
    if number != TOTAL:
        record = metric.aggregates.record(number)
        return None if record is None else {**_EMPTY, **record}
    total = {**_EMPTY, **metric.aggregates.total_record()}
    newest = metric.state.newest
    if newest != NEVER:
        total["newest_at"] = newest
    if metric.clock is not None:
        total["complete_until"] = metric.clock - metric.state.lateness_ms
    return total


def load(metric: MetricInstance, record: Record) -> None:
    """Continue from a published record."""
    if record["bucket"] is not None:
        metric.aggregates.load(metric.buckets.number(record["bucket"]), record)
        return
    if record["complete_until"] is not None:
        metric.clock = record["complete_until"] + metric.state.lateness_ms
    if record["newest_at"] is not None:
        metric.state.newest = record["newest_at"]
        metric.aggregates.load_total(metric.buckets.number(record["newest_at"]), record)
