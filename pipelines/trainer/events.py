"""What happens to models: told once each, on `avila.model-events`."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from pipelines.kafka.records import Outbox
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject

EventKind: TypeAlias = Literal["drift", "promotion", "refused", "learned_again"]

_SCHEMA = "model-event"


class ModelEvent(NamedTuple):
    """An event of one model; the fields are those of `schemas/model-event.avsc`."""

    project_id: str
    prediction_id: str
    version: int
    tag: int
    model: str
    kind: EventKind
    position: int
    learned: int = 0
    clock: int | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    before: str = ""
    reason: str = ""

    @property
    def key(self) -> bytes:
        """The key of its record: `project/prediction`."""
        return f"{self.project_id}/{self.prediction_id}".encode()


class ModelEventsTopic:
    """Writes events of models. Connecting it registers their schema, so it may block."""

    def __init__(self, topic: str, registry: SchemaRegistry, outbox: Outbox) -> None:
        schema = files.load(_SCHEMA)
        self._topic = topic
        self._encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        self._outbox = outbox

    def publish(self, partition: int, events: Sequence[ModelEvent]) -> None:
        """Write events to the partition of that number, in the transaction that is open."""
        if events:
            records: list[dict[str, Any]] = [event._asdict() for event in events]
            values = self._encoder.encode_records(records)
            keys = [event.key for event in events]
            self._outbox.send(self._topic, keys, values, partition=partition)
