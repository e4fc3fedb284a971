"""The engine in this process, on a real broker: events and definitions in, results out.

It commits when it is told to, so that a test can say what is committed when it is restarted.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from confluent_kafka import Producer

from pipelines.engine.analytics import Analytics
from pipelines.engine.operator import AnyOperator
from pipelines.engine.partition import Partition
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Outgoing, TopicPartition
from pipelines.operators import OPERATORS
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.avro.schema import Schema
from schemas.operators import OPERATORS as SPECS
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from schemas.topics import SCHEMAS, Topic
from tests.kafka import Record, read_all
from tests.laws.entry import entry_of
from tests.oracles.events import Event

PARTITION = 0
_TIMEOUT_S = 120.0
_PERIODS = {"day", "period", "bucket"}


class Engine:
    """Evaluates all definitions in partition 0 of a deployment."""

    def __init__(
        self,
        settings: Settings,
        operators: Sequence[AnyOperator] = OPERATORS,
        position: int = 0,
        outbox: Outbox | None = None,
    ) -> None:
        self.settings = settings
        self.outbox = Outbox() if outbox is None else outbox
        self.analytics = Analytics(settings, self.outbox, operators)
        self.analytics.connect(registry_of(settings.bootstrap))
        self.position = position
        self._reader = Reader(settings.bootstrap)
        for _ in self.analytics.restore(PARTITION, position, self._reader):
            pass

    @property
    def partition(self) -> Partition:
        return self.analytics._partitions[PARTITION]

    def run(self) -> "Engine":
        """Process all events that there are, let backfills end, and commit."""
        source = TopicPartition(self.settings.topics.events.name, PARTITION)
        for records in self._reader.read(source, self.position):
            if records is not None:
                self.analytics.process(records)
                self.position = records.next_offset
        self.commit()
        deadline = time.monotonic() + _TIMEOUT_S
        while self.analytics.backfilling:
            assert time.monotonic() < deadline, "a backfill does not end"
            self.analytics.catch_up()
        self.commit()
        return self

    def commit(self) -> None:
        """Flush, and write what is in the outbox."""
        self.analytics.flush({PARTITION: self.position}, time.time_ns() // 1_000_000)
        write(self.settings, self.outbox.take())

    def snapshot(self) -> None:
        """Write a snapshot, and wait until it is on disk."""
        self.analytics.snapshot({PARTITION: self.position}, self._reader)
        self.analytics._snapshots.wait()

    def restarted(self, operators: Sequence[AnyOperator] = OPERATORS) -> "Engine":
        """End, and return another engine, which goes on from what this one has committed."""
        self.close()
        return Engine(self.settings, operators, self.position)

    def close(self) -> None:
        """Give back the connections."""
        self._reader.close()

    def await_definitions(self, holds: Callable[["Engine"], bool]) -> None:
        """Commit until what was put on the definitions topic shows."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not holds(self):
            assert time.monotonic() < deadline, "the definitions do not show"
            self.commit()
            time.sleep(0.01)


def write(settings: Settings, outgoing: Iterable[Outgoing]) -> None:
    """Write records as an epoch does, but for the transaction."""
    for topic, partition, keys, values, _ in outgoing:
        pairs = zip(keys.to_pylist(), values.to_pylist(), strict=True)
        produce(settings, topic, [Record(value, key, partition) for key, value in pairs])


@cache
def _producer(bootstrap: str) -> Producer:
    # Idempotent, so that records keep their order when some are sent again.
    own = {"enable.idempotence": True, "linger.ms": 0, "log_level": 0}
    return Producer({"bootstrap.servers": bootstrap, **own})


def produce(settings: Settings, topic: str, records: Iterable[Record]) -> None:
    """Produce records; all are acknowledged on return. One producer serves all calls."""
    producer = _producer(settings.bootstrap)
    for record in records:
        producer.produce(topic, record.value, record.key, record.partition)
    assert not producer.flush(_TIMEOUT_S)


@cache
def registry_of(bootstrap: str) -> "KnownSchemas":
    """The registry of all deployments on a broker, which asks for each schema once."""
    return KnownSchemas(Registry(bootstrap, SCHEMAS.name))


class KnownSchemas:
    """A registry that remembers what it has registered."""

    def __init__(self, registry: Registry) -> None:
        self._ids: dict[Schema, int] = {}
        self._registry = registry

    def register(self, subject: str, schema: Schema) -> int:
        if schema not in self._ids:
            self._ids[schema] = self._registry.register(subject, schema)
        return self._ids[schema]

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        return self._registry.find(ids)

    def close(self) -> None:
        """Stay open: it is for all."""


def store(
    settings: Settings, names: Sequence[str], at_ms: int, person: str = "ann", project: str = "shop"
) -> None:
    """Write events of a person to the event store, a millisecond apart."""
    events = [
        Event(person, name, at_ms + place, {"plan": "pro"}) for place, name in enumerate(names)
    ]
    store_events(settings, events, project)


def store_events(
    settings: Settings,
    events: Sequence[Event],
    project: str = "shop",
    partition: int = PARTITION,
) -> None:
    """Write events to the event store, in this order."""
    topic = settings.topics.events.name
    schema = files.load("event")
    registry = registry_of(settings.bootstrap)
    encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    values = encoder.encode_records(
        {
            "project_id": project,
            "distinct_id": event.person,
            "person_id": event.person,
            "event": event.event,
            "timestamp": event.at,
            "properties": event.text,
        }
        for event in events
    )
    keys = [f"{project}:{event.person}".encode() for event in events]
    produce(
        settings,
        topic,
        [Record(value, key, partition) for key, value in zip(keys, values, strict=True)],
    )


class Named(NamedTuple):
    """A definition: its operator's name, its own, and its project."""

    kind: str
    id: str
    project: str = "shop"

    def record(self, body: dict[str, Any], version: int = 1, **more: Any) -> dict[str, Any]:
        """Return its record with this body."""
        common = {"project_id": self.project, "id": self.id, "version": version, "created_at": 0}
        beside = entry_of(self.kind).more(body)
        return {**common, "updated_at": 0, self.kind: body, **beside, **more}


def put(settings: Settings, records: dict[Named, dict[str, Any] | bytes | None]) -> None:
    """Put records on the definitions topic; None deletes a definition."""
    encoded = [
        Record(
            json.dumps(record).encode() if isinstance(record, dict) else record,
            f"{of.project}/{of.kind}/{of.id}".encode(),
        )
        for of, record in records.items()
    ]
    produce(settings, settings.topics.definitions.name, encoded)


Periods = dict[tuple[int, object], dict[str, Any]]


def published(settings: Settings) -> dict[Named, Periods]:
    """The latest aggregates of all definitions, by version and period; a total's period is None."""
    found: defaultdict[Named, Periods] = defaultdict(dict)
    for spec in SPECS:
        schema = files.load(spec.aggregates.schema)
        codec = Codec(schema, registry_of(settings.bootstrap).find)
        period = next(name for name in schema.arrow.names if name in _PERIODS)
        for record in latest(settings, spec.aggregates.topic(settings.topics), codec):
            of = Named(spec.name, record[f"{spec.name}_id"], record["project_id"])
            found[of][record["version"], record[period]] = record
    return dict(found)


def latest(settings: Settings, topic: Topic, codec: Codec) -> list[dict[str, Any]]:
    """The latest records of a compacted topic."""
    messages = {message.key(): message for message in read_all(settings.bootstrap, topic.name)}
    values = [value for message in messages.values() if (value := message.value()) is not None]
    decoded = codec.decode(values)
    assert not decoded.failures
    return decoded.batch.to_pylist()
