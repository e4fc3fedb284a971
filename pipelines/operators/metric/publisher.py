"""What the metrics publish: figures that readers merge over partitions."""

from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

from pipelines.engine.aggregates_topic import FiguresTopic
from pipelines.engine.operator import NEVER, TOTAL, Changed, Key, Running, Standing
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
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


class MetricResults:
    """Writes to `avila.metrics`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = FiguresTopic(
            KIND, topics.metrics, "metric-result", "bucket", registry, outbox
        )

    def changes(self, standing: Standing, changed: Changed) -> None:
        """Nothing: what one event does is announced nowhere."""

    def expired(self, standing: Standing, changed: Changed) -> None:
        """Nothing: time alone changes no bucket."""

    def figures(self, standing: Standing, running: Running) -> None:
        """Publish the buckets that are not published yet, and the whole."""
        buckets = buckets_of(running)
        self._figures.publish(
            standing, running, lambda number: record_of(running, number), buckets.begin
        )

    def restore(
        self, partition: int, running: dict[Key, Running], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of metrics that have ended."""
        return self._figures.restore(partition, running, reader, take)

    def forget(self, standing: Standing, running: Running) -> None:
        """Delete the figures of a metric that has ended."""
        self._figures.forget(standing.partition, running, buckets_of(running).begin)


def buckets_of(running: Running) -> Buckets:
    """The buckets of a metric."""
    metric = running.definition.metric
    return Buckets(metric.bucket_s, metric.timezone)


def record_of(running: Running, number: int) -> dict[str, Any] | None:
    """What is published of a bucket, or of the whole (`TOTAL`); None if it is to be deleted."""
    if number != TOTAL:
        of_bucket: dict[str, Any] | None = running.figures.record(number)
        return None if of_bucket is None else _NOTHING | of_bucket
    state = cast(_Measuring, running.state)
    whole: dict[str, Any] = _NOTHING | running.figures.whole()
    if state.newest != NEVER:
        whole["newest_at"] = state.newest
        whole["complete_until"] = state.newest - state.lateness_ms
    return whole


def take(running: Running, record: dict[str, Any]) -> None:
    """Go on from a published record."""
    buckets = buckets_of(running)
    if record["bucket"] is not None:
        running.figures.load(buckets.number(record["bucket"]), record)
    elif record["newest_at"] is not None:
        cast(_Measuring, running.state).newest = record["newest_at"]
        running.figures.load_whole(buckets.number(record["newest_at"]), record)
