"""What the sink delivers: a part for each topic, with its consumer group, metrics and table."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.operators import OPERATORS, OperatorSpec
from schemas.operators.prediction import PREDICTION
from schemas.operators.segment import SEGMENT
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings
from sinks.clickhouse import ClickHouseSink
from sinks.definitions import DefinitionsSink, decode_definitions
from sinks.delivery import Delivery
from sinks.history import HISTORY_INTERVAL_MS, HistorySink
from sinks.history_rows import decode_history
from sinks.member_rows import CHANGE, decode_members
from sinks.members import MembersSink
from sinks.predictions import PredictionsSink
from sinks.rejects import Rejects
from sinks.resume import resuming
from sinks.rows import EVENT, decode
from sinks.score_rows import SCORE, decode_scores
from sinks.source import SourceSettings
from sinks.telemetry import Metrics


class Part(NamedTuple):
    """A topic that is delivered: the end of its group's name, its metrics, and the delivery."""

    name: str
    metrics: Metrics
    make: Callable[[Settings, SchemaRegistry, "Part"], Delivery]

    def group(self, settings: Settings) -> str:
        """Return the name of the consumer group."""
        return f"{settings.app_id}-sink-{self.name}"

    def deliver(self, settings: Settings, registry: SchemaRegistry) -> Delivery:
        """Return the delivery, which is not started."""
        return self.make(settings, registry, self)

    def source(self, settings: Settings, topic: str) -> SourceSettings:
        """Return what to read."""
        return SourceSettings(
            cluster=settings.cluster,
            topic=topic,
            group=self.group(settings),
            session_timeout_ms=settings.session_timeout_ms,
            missing_offsets=settings.missing_offsets,
        )


def parts(settings: Settings) -> list[Part]:
    """Return all parts of a deployment."""
    found = [
        Part("clickhouse", Metrics(), _of_events),
        Part("predictions", Metrics("avila_sink_predictions"), _of_scores),
        Part("segments", Metrics("avila_sink_segments"), _of_members),
        Part("definitions", Metrics("avila_sink_definitions"), _of_definitions),
    ]
    if settings.result_history_days:
        found += [
            Part(
                f"history-{spec.plural}",
                Metrics(f"avila_sink_history_{spec.plural}"),
                partial(_of_history, spec),
            )
            for spec in OPERATORS
        ]
    return found


def _of_events(settings: Settings, registry: SchemaRegistry, part: Part) -> Delivery:
    source = part.source(settings, settings.topics.events.name)
    sink = ClickHouseSink(settings)
    codec = Codec(EVENT, registry.find, shipped=history("event"))
    begin = resuming(source, sink, codec)
    return Delivery(source, sink, partial(decode, codec), begin, _rejects(settings), part.metrics)


def _of_scores(settings: Settings, registry: SchemaRegistry, part: Part) -> Delivery:
    source = part.source(settings, PREDICTION.changes[0].topic(settings.topics).name)
    sink = PredictionsSink(settings)
    decoded = partial(
        decode_scores, Codec(SCORE, registry.find, shipped=history("prediction-score"))
    )
    return Delivery(source, sink, decoded, sink.begin, _rejects(settings), part.metrics)


def _of_members(settings: Settings, registry: SchemaRegistry, part: Part) -> Delivery:
    source = part.source(settings, SEGMENT.changes[0].topic(settings.topics).name)
    sink = MembersSink(settings)
    decoded = partial(
        decode_members, Codec(CHANGE, registry.find, shipped=history("segment-change"))
    )
    return Delivery(source, sink, decoded, sink.begin, _rejects(settings), part.metrics)


def _of_definitions(settings: Settings, _: SchemaRegistry, part: Part) -> Delivery:
    source = part.source(settings, settings.topics.definitions.name)
    sink = DefinitionsSink(settings)
    return Delivery(source, sink, decode_definitions, sink.begin, _rejects(settings), part.metrics)


def _of_history(
    spec: OperatorSpec, settings: Settings, registry: SchemaRegistry, part: Part
) -> Delivery:
    schema = spec.aggregates.schema
    source = part.source(settings, spec.aggregates.topic(settings.topics).name)
    sink = HistorySink(settings)
    codec = Codec(load(schema), registry.find, shipped=history(schema))
    return Delivery(
        source._replace(chunk_interval_ms=HISTORY_INTERVAL_MS),
        sink,
        partial(decode_history, spec.name, codec),
        sink.begin,
        _rejects(settings),
        part.metrics,
    )


def _rejects(settings: Settings) -> Rejects:
    return Rejects(settings.cluster, settings.topics.rejected.name)
