"""The schema registry: reads the `_schemas` topic and appends to it.

Any number of processes may register at once, without a leader. All use the same transactional id,
which serves as the lock: starting a producer with it fences every other, and a process has read
everything committed before it commits. A Confluent Schema Registry can take over the topic, but
must not write to it at the same time, since it does not use this lock.
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
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Unavailable
from schemas.registry.subjects import Record, Subjects
from schemas.topics import SCHEMAS

T = TypeVar("T")

_FETCH_BATCH: Final = 500
_POLL_S: Final = 0.1
_MAX_PAUSE_S: Final = 0.25


class Registry:
    """The registry on one broker. All methods may be called from any thread, and may block.

    Each waits up to `timeout_s` for the broker, then raises `Unavailable`. A change may have been
    written or not by then; calling again is safe.
    """

    def __init__(
        self, bootstrap: str, topic: str = SCHEMAS.name, *, timeout_s: float = 120.0
    ) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._subjects = Subjects()
        self._position = 0
        self._client = {"bootstrap.servers": bootstrap}
        config: dict[str, Any] = self._client | {
            "group.id": topic,  # required by librdkafka; no offset is ever committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # Only an empty fetch shows that a transaction marker follows the last record.
            "fetch.wait.max.ms": 100,
            **CONSUMER_DEFAULTS,
            "log_level": 0,  # the library reconnects by itself
        }
        self._consumer = Consumer(config)
        # On a connection of its own: on the other one it would wait until a fetch times out.
        self._ends = Consumer(config)
        self._consumer.assign([KafkaPartition(topic, 0, OFFSET_BEGINNING)])
        self._writer: Producer | None = None  # kept for the next change, until another fences it

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
        """Return what `look` reads from everything committed; it must not change anything."""
        with self._lock:
            return look(self.refresh())

    def refresh(self) -> Subjects:
        """Read everything committed so far, and return it.

        The returned object changes with every later call: use it from one thread only, or read it
        within `view` or `change`.
        """
        with self._lock:
            self._read_to_end(time.monotonic() + self._timeout_s)
            return self._subjects

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """Return the schemas with these `ids`; ask the broker only if some are not known yet."""
        with self._lock:
            if not all(self._subjects.lookup(schema_id) for schema_id in ids):
                self.refresh()
            found = {schema_id: self._subjects.lookup(schema_id) for schema_id in ids}
        return {schema_id: schema for schema_id, schema in found.items() if schema is not None}

    def register(self, subject: str, schema: Schema) -> int:
        """Return the id of `schema` under `subject`; register it there first if necessary.

        When this returns, every reader of committed records finds the id.

        Raises:
            Conflict: the subject's compatibility level forbids it, for the given reason.
            InvalidRequest: the subject is not a valid name.
        """
        return self.change(lambda subjects: subjects.registration(subject, schema))

    def change(self, decide: Callable[[Subjects], tuple[T, list[Record]]]) -> T:
        """Write the records that `decide` returns, all or none, while no other process writes.

        `decide` is called on everything committed, again whenever another process was first; it
        must not change anything itself. It returns a result and records; the result is returned
        here. Without records, no lock is taken.
        """
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            self._read_to_end(deadline)
            result, records = decide(self._subjects)
            while records:
                try:
                    return self._change_locked(decide, deadline)
                except KafkaException as error:
                    # Fenced by another process, or the broker is unstable: read again.
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
        # A committed record is not visible at once: no value may carry the new id before it is.
        self._read_to_end(deadline, max(offsets) + 1)
        return result

    def _fencing_producer(self, deadline: float) -> Producer:
        """Return a producer that has fenced the previous one, whose writes fail from now on."""
        producer = Producer(
            self._client
            | {
                "transactional.id": f"{self._topic}-registrar",
                # The open transaction of a killed process blocks readers for at most this long.
                "transaction.timeout.ms": 10_000,
                "log_level": 0,  # being fenced is expected
            }
        )
        producer.init_transactions(_left(deadline))
        return producer

    def _read_to_end(self, deadline: float, at_least: int = 0) -> None:
        end = max(self._end(deadline), at_least)
        trouble: object = "an open transaction holds up its records"
        while self._position < end:
            if time.monotonic() > deadline:
                raise self._unavailable(trouble)
            first = self._consumer.poll(_POLL_S)
            if first is not None:
                for message in [first, *self._consumer.consume(_FETCH_BATCH, 0)]:
                    trouble = self._take(message) or trouble

    def _end(self, deadline: float) -> int:
        while True:
            try:
                partition = KafkaPartition(self._topic, 0)
                return self._ends.get_watermark_offsets(partition, timeout=_left(deadline))[1]
            except KafkaException as error:
                # A topic that was just created has no leader yet; a missing one never gets any.
                if time.monotonic() > deadline:
                    raise self._unavailable(error) from error
                time.sleep(_POLL_S)

    def _take(self, message: Message) -> KafkaError | None:
        """Apply one message; return an error that librdkafka may recover from by itself."""
        error, offset = message.error(), message.offset()
        if error is None and offset is not None:
            self._subjects.apply(message.key(), message.value())
            self._position = offset + 1
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # The end lies behind the last record if transaction markers follow it.
            self._position = max(self._position, offset or 0)
            return None
        return error

    def _unavailable(self, cause: object) -> Unavailable:
        return Unavailable(f"the schema registry's topic {self._topic} does not answer: {cause}")


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
