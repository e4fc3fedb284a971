"""The embedded schema registry: reads the `_schemas` topic and appends to it.

Any number of processes may register at once, without a leader: all of them use one transactional
id, which serves as a lock. A process that starts a producer with it fences all others, and one that
commits has read everything that was committed before. A Confluent Schema Registry can take over the
topic, but must not write to it at the same time, since it does not use the lock.
"""

import random
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.avro.schema import Schema
from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Unavailable
from schemas.registry.subjects import Record, Subjects
from schemas.topics import SCHEMAS

T = TypeVar("T")

_BATCH: Final = 500
_POLL_S: Final = 0.1
_MAX_PAUSE_S: Final = 0.25


class Registry:
    """The registry on one broker. Thread-safe; calls may block.

    A method waits up to `timeout_s` for the broker and then raises `Unavailable`. What it should
    have written may then have been written or not; every call can be repeated.
    """

    def __init__(
        self, cluster: Address, topic: str = SCHEMAS.name, *, timeout_s: float = 120.0
    ) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._subjects = Subjects()
        self._position = 0
        self._cluster = cluster
        own: dict[str, Any] = {
            "group.id": topic,  # librdkafka requires one; nothing is committed to it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # An empty fetch shows that only the marker of a transaction follows the last record.
            "fetch.wait.max.ms": 100,
            **CONSUMER_DEFAULTS,
            "log_level": 0,  # the library reconnects by itself
        }
        config = client_config(cluster, own)
        self._consumer = Consumer(config)
        # A separate connection: on the other one, requests would wait until a fetch times out.
        self._ends = Consumer(config)
        self._consumer.assign([KafkaPartition(topic, 0, OFFSET_BEGINNING)])
        self._writer: Producer | None = None  # reused until another process fences it

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._writer = None
            self._consumer.close()
            self._ends.close()

    def view(self, look: Callable[[Subjects], T]) -> T:
        """Return what `look` returns for all committed records; it must not change them."""
        with self._lock:
            return look(self.refresh())

    def refresh(self) -> Subjects:
        """Read all committed records and return the registry's own `Subjects`.

        Later calls change it: use it in one thread only, or within `view` or `change`.
        """
        with self._lock:
            self._read_to_end(time.monotonic() + self._timeout_s)
            return self._subjects

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """Return the schemas of `ids` that exist; read the topic only if some are unknown."""
        with self._lock:
            if not all(self._subjects.lookup(schema_id) for schema_id in ids):
                self.refresh()
            found = {schema_id: self._subjects.lookup(schema_id) for schema_id in ids}
        return {schema_id: schema for schema_id, schema in found.items() if schema is not None}

    def register(self, subject: str, schema: Schema) -> int:
        """Return the id of `schema`, and register it under `subject` unless it is there already.

        When this returns, the id is visible to every reader of committed records.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the subject is not a valid name.
        """
        return self.change(lambda subjects: subjects.registration(subject, schema))

    def change(self, decide: Callable[[Subjects], tuple[T, list[Record]]]) -> T:
        """Write the records that `decide` returns, atomically and without concurrent writers.

        `decide` gets all committed records, must not change them, and is called again if another
        process has written first. Without records to write, nothing is locked. Returns the first
        value that `decide` returned with them.
        """
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            self._read_to_end(deadline)
            result, records = decide(self._subjects)
            while records:
                try:
                    return self._change_locked(decide, deadline)
                except KafkaException as error:
                    # Fenced by another process, or the broker is failing: read and decide again.
                    self._writer = None
                    if time.monotonic() > deadline:
                        raise self._unavailable(error) from error
                    time.sleep(random.uniform(0, _MAX_PAUSE_S))  # noqa: S311
            return result

    def _change_locked(
        self, decide: Callable[[Subjects], tuple[T, list[Record]]], deadline: float
    ) -> T:
        if self._writer is None:
            self._writer = self._fencing_producer(deadline)
        producer = self._writer
        self._read_to_end(deadline)
        result, records = decide(self._subjects)
        if not records:
            return result
        offsets: list[int] = []

        def delivered(_: KafkaError | None, message: Message) -> None:
            offsets.append(message.offset() or 0)

        producer.begin_transaction()
        for key, value in records:
            producer.produce(self._topic, value, key, partition=0, on_delivery=delivered)
        producer.commit_transaction(_left(deadline))
        # A committed record is not visible at once, and values with the new id must not precede it.
        self._read_to_end(deadline, max(offsets) + 1)
        return result

    def _fencing_producer(self, deadline: float) -> Producer:
        """Start a producer that fences its predecessor, with which writes fail from now on."""
        producer = Producer(
            client_config(
                self._cluster,
                {
                    "transactional.id": f"{self._topic}-registrar",
                    # For how long an open transaction of a killed process can hold up all readers.
                    "transaction.timeout.ms": 10_000,
                    "log_level": 0,  # being fenced is expected
                },
            )
        )
        producer.init_transactions(_left(deadline))
        return producer

    def _read_to_end(self, deadline: float, at_least: int = 0) -> None:
        end = max(self._end(deadline), at_least)
        problem: object = "an open transaction holds records back"
        while self._position < end:
            if time.monotonic() > deadline:
                raise self._unavailable(problem)
            first = self._consumer.poll(_POLL_S)
            if first is not None:
                for message in [first, *self._consumer.consume(_BATCH, 0)]:
                    problem = self._take(message) or problem

    def _end(self, deadline: float) -> int:
        while True:
            try:
                partition = KafkaPartition(self._topic, 0)
                return self._ends.get_watermark_offsets(partition, timeout=_left(deadline))[1]
            except KafkaException as error:
                # A new topic may have no leader yet; one that does not exist never gets one.
                if time.monotonic() > deadline:
                    raise self._unavailable(error) from error
                time.sleep(_POLL_S)

    def _take(self, message: Message) -> KafkaError | None:
        """Apply one message; return an error that librdkafka may still recover from."""
        error, offset = message.error(), message.offset()
        if error is None and offset is not None:
            self._subjects.apply(message.key(), message.value())
            self._position = offset + 1
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # The end comes after the markers that follow the last record.
            self._position = max(self._position, offset or 0)
            return None
        return error

    def _unavailable(self, cause: object) -> Unavailable:
        return Unavailable(f"the schema registry's topic {self._topic} does not answer: {cause}")


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
