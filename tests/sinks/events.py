"""Events for tests: as rows of a sink, and in transactions on the event store."""

import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from confluent_kafka import Producer

from schemas.avro.codec import Encoder
from schemas.registry.log import Registry
from schemas.settings import Settings
from sinks.base import Batch, boot_clock_s
from sinks.rows import EVENT, ROWS

NOV_2025_MS: Final = 1_762_000_000_000
MONTH_MS: Final = 31 * 86_400_000


def event(number: int, **values: Any) -> dict[str, Any]:
    """Return event number `number`; equal numbers give equal events."""
    made = random.Random(number)
    time_ms = NOV_2025_MS + number
    return {
        "event_id": str(uuid.UUID(int=made.getrandbits(128))),
        "project_id": f"shop-{number % 2}",
        "distinct_id": f"u{number % 100}",
        "person_id": f"u{number % 100}",
        "anonymous_id": f"a{number}" if number % 3 else None,
        "session_id": None if number % 5 else "s",
        "event": ("view", "add", "purchase")[number % 3],
        "timestamp": time_ms,
        "sent_at": time_ms if number % 2 else None,
        "received_at": time_ms + 5,
        "properties": f'{{"price": {number}, "plan": "pro"}}',
        "context": "{}",
        **values,
    }


def rows(events: Sequence[Mapping[str, Any]], first: int = 0, partition: int = 0) -> pa.RecordBatch:
    """Return the rows of events at the offsets `first` and after."""
    return pa.RecordBatch.from_pylist(
        [
            {**event, "_partition": partition, "_offset": first + row}
            for row, event in enumerate(events)
        ],
        schema=ROWS,
    )


def batch(
    events: Sequence[Mapping[str, Any]], first: int = 0, partition: int = 0, **values: Any
) -> Batch:
    """Return the batch of a chunk that has just been planned."""
    planned = Batch(
        topic="events",
        partition=partition,
        first=first,
        last=first + len(events) - 1,
        checksum=7,
        rows=rows(events, first, partition),
        planned_at_s=boot_clock_s(),
        again=False,
    )
    return planned._replace(**values)


class EventStore:
    """Writes to the event store as the Tracker does: in transactions, some of them aborted."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.events.name
        self._partitions = settings.partitions
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(f"{self._topic}-value", EVENT)
        self._encoder = Encoder(EVENT, schema_id)
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "transactional.id": f"{self._topic}-tracker",
                "log_level": 0,
            }
        )
        self._producer.init_transactions(60)
        self._next = 0

    def append(self, count: int, *, each: int = 500, abort_every: int = 3) -> None:
        """Commit `count` new events in transactions of `each`, with aborted ones in between."""
        events = [event(number) for number in range(self._next, self._next + count)]
        self._next += count
        for number, start in enumerate(range(0, count, each)):
            if abort_every and number % abort_every == 0:
                self._write([event(-1 - row) for row in range(each // 2)], commit=False)
            self._write(events[start : start + each], commit=True)

    def append_values(self, *values: bytes | None) -> None:
        """Commit records of any content to partition 0, in one transaction."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self._topic, value, partition=0)
        self._producer.commit_transaction(60)

    def encode(self, events: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Return the events as values of the topic."""
        return self._encoder.encode(pa.RecordBatch.from_pylist(list(events), schema=EVENT.arrow))

    def _write(self, events: Sequence[Mapping[str, Any]], *, commit: bool) -> None:
        self._producer.begin_transaction()
        for number, value in enumerate(self.encode(events)):
            self._producer.produce(self._topic, value, partition=number % self._partitions)
        if commit:
            self._producer.commit_transaction(60)
        else:
            # Records that are still queued would never reach the topic.
            self._producer.flush(60)
            self._producer.abort_transaction(60)
