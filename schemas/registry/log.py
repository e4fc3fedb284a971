"""The schema registry: a follower of the `_schemas` topic that can also add to it.

Any number of processes may register at once, without a leader to ask: the lock is the one
transactional id that all of them use. Who starts a producer with it fences every other; who
commits has read everything committed before. A Confluent Schema Registry can take over the topic,
but must not write to it at the same time, since it takes no part in this.
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

_FETCH: Final = 500
_POLL_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 0.25


class Registry:
    """The registry on one broker. All methods may be called from any thread, and may block.

    Each waits up to `timeout_s` for the broker and then raises `Unavailable`; what it was to write
    may then stand or not, and doing the same again is safe.
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
            "group.id": topic,  # librdkafka wants a name; nothing is ever committed to it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # That a transaction's mark follows the last record is told by an empty fetch.
            "fetch.wait.max.ms": 100,
            **CONSUMER_DEFAULTS,
            "log_level": 0,  # lost connections are mended by the library
        }
        self._consumer = Consumer(config)
        # On a connection of its own: on the other one it would wait for a fetch to time out.
        self._ends = Consumer(config)
        self._consumer.assign([KafkaPartition(topic, 0, OFFSET_BEGINNING)])
        self._writer: Producer | None = None  # kept for the next change, until another fences it

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections."""
        with self._lock:
            self._writer = None
            self._consumer.close()
            self._ends.close()

    def view(self, look: Callable[[Subjects], T]) -> T:
        """What `look` finds in all that is committed by now; it must not change anything."""
        with self._lock:
            return look(self.refresh())

    def refresh(self) -> Subjects:
        """Read all that is committed by now.

        The view is ours and changes with every later call: use it from one thread only, or look
        at it within `view` or `change`.
        """
        with self._lock:
            self._read_to_end(time.monotonic() + self._timeout_s)
            return self._subjects

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """The schemas of those `ids` that exist; asks the broker only if some are not known yet."""
        with self._lock:
            if not all(self._subjects.lookup(schema_id) for schema_id in ids):
                self.refresh()
            found = {schema_id: self._subjects.lookup(schema_id) for schema_id in ids}
        return {schema_id: schema for schema_id, schema in found.items() if schema is not None}

    def register(self, subject: str, schema: Schema) -> int:
        """The id of `schema` under `subject`, where it is put if it does not stand there yet.

        When this returns, every reader of committed records finds the id.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the subject cannot be a name.
        """
        return self.change(lambda subjects: subjects.registration(subject, schema))

    def change(self, decide: Callable[[Subjects], tuple[T, list[Record]]]) -> T:
        """Write the records that `decide` wants, all or none, while nobody else writes.

        `decide` is called on what is committed, again whenever another process was first; it must
        not change anything itself. Without records nothing is locked. Returns what came with them.
        """
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            self._read_to_end(deadline)
            result, records = decide(self._subjects)
            while records:
                try:
                    return self._change_alone(decide, deadline)
                except KafkaException as error:
                    # Fenced by another, or the broker wavers: look again at what stands.
                    self._writer = None
                    if time.monotonic() > deadline:
                        raise self._unavailable(error) from error
                    time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311
            return result

    def _change_alone(
        self, decide: Callable[[Subjects], tuple[T, list[Record]]], deadline: float
    ) -> T:
        if self._writer is None:
            self._writer = self._alone(deadline)
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
        # Committed is not yet visible: values that carry the new id must not overtake it.
        self._read_to_end(deadline, max(offsets) + 1)
        return result

    def _alone(self, deadline: float) -> Producer:
        """A producer that fences the one before: who writes with that one fails from now on."""
        producer = Producer(
            self._client
            | {
                "transactional.id": f"{self._topic}-registrar",
                # What a killed process leaves open holds up all readers for no longer than this.
                "transaction.timeout.ms": 10_000,
                "log_level": 0,  # to be fenced is no news here
            }
        )
        producer.init_transactions(_left(deadline))
        return producer

    def _read_to_end(self, deadline: float, at_least: int = 0) -> None:
        end = max(self._end(deadline), at_least)
        trouble: object = "records are held up by an open transaction"
        while self._position < end:
            if time.monotonic() > deadline:
                raise self._unavailable(trouble)
            first = self._consumer.poll(_POLL_S)
            if first is not None:
                for message in [first, *self._consumer.consume(_FETCH, 0)]:
                    trouble = self._take(message) or trouble

    def _end(self, deadline: float) -> int:
        while True:
            try:
                partition = KafkaPartition(self._topic, 0)
                return self._ends.get_watermark_offsets(partition, timeout=_left(deadline))[1]
            except KafkaException as error:
                # A topic that was just created has no leader yet; one that is not there never will.
                if time.monotonic() > deadline:
                    raise self._unavailable(error) from error
                time.sleep(_POLL_S)

    def _take(self, message: Message) -> KafkaError | None:
        """Take in one message; an error that librdkafka may yet overcome is returned."""
        error, offset = message.error(), message.offset()
        if error is None and offset is not None:
            self._subjects.apply(message.key(), message.value())
            self._position = offset + 1
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            # Ahead of the last record by the marks that transactions leave.
            self._position = max(self._position, offset or 0)
            return None
        return error

    def _unavailable(self, cause: object) -> Unavailable:
        return Unavailable(f"the schema registry's topic {self._topic} does not answer: {cause}")


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
