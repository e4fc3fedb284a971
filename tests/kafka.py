"""What tests say to a real broker, in one line each."""

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.consumer_defaults import CONSUMER_DEFAULTS

TIMEOUT_S = 30.0


class Record(NamedTuple):
    """What to produce; without a partition, the key decides as Kafka's Java clients would."""

    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0


def produce(bootstrap: str, topic: str, records: Iterable[Record | bytes], **config: Any) -> None:
    """Produce `records` and return when all are acknowledged; `config` is librdkafka's."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.max.bytes": 4_000_000,
            "log_level": 0,
            **config,
        }
    )
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error:
            failures.append(error)

    for item in records:
        record = Record(item) if isinstance(item, bytes) else item
        producer.produce(
            topic,
            record.value,
            record.key,
            record.partition,
            headers=list(record.headers),
            timestamp=record.timestamp_ms,
            on_delivery=delivered,
        )
    unsent = producer.flush(TIMEOUT_S)
    assert not unsent, f"{unsent} records were not acknowledged in {TIMEOUT_S} s"
    assert not failures, failures[0]


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """Return every committed record of `topic` by partition and offset, at least all so far.

    What stands behind a transaction that is still open is not seen, as no reader may see it.
    """
    with _reader(bootstrap) as consumer:
        partitions = set(consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + TIMEOUT_S
        while partitions:
            message = consumer.poll(1)
            if message is None:
                assert time.monotonic() < deadline, f"no end of {topic} {sorted(partitions)}"
            elif (error := message.error()) is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                partitions.discard(message.partition())
            else:
                raise KafkaException(error)
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))


class Log:
    """A topic read from its beginning, and further each time it is asked; close it in the end."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._closing = contextlib.ExitStack()
        self._consumer = self._closing.enter_context(_reader(bootstrap))
        partitions = self._consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        self._partitions = set(partitions)
        self._behind = set(partitions)
        self._messages: list[Message] = []

    def read(self) -> list[Message]:
        """At least what was committed before the log was opened, by partition in their order.

        Later records come with later calls: it does not run after what keeps coming.
        """
        deadline = time.monotonic() + TIMEOUT_S
        to_end = set(self._partitions)
        while (more := self._consumer.consume(10_000, 0.2)) or self._behind:
            for message in more:
                if message.error() is None:
                    self._messages.append(message)
                else:
                    self._behind.discard(message.partition() or 0)
                    to_end.discard(message.partition() or 0)
            if not to_end:
                break
            assert more or time.monotonic() < deadline, f"no end of {self._behind}"
        return self._messages

    def close(self) -> None:
        """Disconnect."""
        self._closing.close()


@contextlib.contextmanager
def _reader(bootstrap: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"read-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
            **CONSUMER_DEFAULTS,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def create_topic(bootstrap: str, name: str, *, partitions: int) -> None:
    """Create a topic with the broker's defaults."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    new = NewTopic(name, num_partitions=partitions, replication_factor=1)
    admin.create_topics([new], operation_timeout=TIMEOUT_S)[name].result()


def delete_topics(bootstrap: str, names: Iterable[str]) -> None:
    """Delete the topics; one that does not exist is no error."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for answer in admin.delete_topics(list(names), operation_timeout=TIMEOUT_S).values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


class EphemeralTopic:
    """A topic that exists inside the `with` block only."""

    def __init__(self, bootstrap: str, *, partitions: int = 1) -> None:
        self.bootstrap = bootstrap
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self._partitions = partitions

    def __enter__(self) -> Self:
        create_topic(self.bootstrap, self.name, partitions=self._partitions)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        delete_topics(self.bootstrap, [self.name])

    def produce(self, *records: Record | bytes) -> None:
        """Produce `records`, acknowledged on return."""
        produce(self.bootstrap, self.name, records)

    def read_all(self) -> list[Message]:
        """Every committed record so far."""
        return read_all(self.bootstrap, self.name)

    def assert_empty(self) -> None:
        """Fail if the topic holds a committed record."""
        assert not self.read_all()
