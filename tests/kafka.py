"""Produce to a real broker and read from it, in one line each.

librdkafka's defaults save requests where tests want answers: an idempotent producer waits half a
second for its id before it sends anything, and a fetch that finds nothing waits as long. Ours send
in order without an id, one request at a time, and ask again every 20 ms.
"""

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS

TIMEOUT_S = 120.0
FETCH_WAIT_MS = 20
_PAUSE_S = 0.1  # without a record


class Record(NamedTuple):
    """What to produce; without a partition, the key decides as Kafka's Java clients would."""

    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int = 0


def produce(cluster: Address, topic: str, records: Iterable[Record | bytes], **config: Any) -> None:
    """Produce `records` and return when all are acknowledged; `config` is librdkafka's."""
    producer = Producer(
        client_config(
            cluster,
            {
                "acks": "all",
                "max.in.flight.requests.per.connection": 1,
                "partitioner": "murmur2_random",
                "message.max.bytes": 4_000_000,
                "log_level": 0,
                **config,
            },
        )
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


def read_all(cluster: Address, topic: str) -> list[Message]:
    """Return every committed record of `topic` by partition and offset, at least all so far.

    Records behind a transaction that is still open are left out, as for every reader.
    """
    with contextlib.closing(Tail(cluster, topic)) as whole:
        return whole.read()


class Tail:
    """The records of a topic from an offset on, as often as a test asks; close it at the end.

    It begins with the first record; `skip` moves the beginning to the end of the topic as it is
    then, so that tests that share a topic see their own records alone.
    """

    def __init__(self, cluster: Address, topic: str) -> None:
        self._closing = contextlib.ExitStack()
        self._consumer = self._closing.enter_context(_reader(cluster))
        partitions = self._consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
        self._begin = [TopicPartition(topic, partition, 0) for partition in partitions]

    def skip(self) -> None:
        """Begin with the records that come from now on."""
        for partition in self._begin:
            partition.offset = self._consumer.get_watermark_offsets(partition, TIMEOUT_S)[1]

    def read(self) -> list[Message]:
        """Return the committed records since the beginning by partition and offset."""
        self._consumer.assign(self._begin)
        partitions = {partition.partition for partition in self._begin}
        messages: list[Message] = []
        deadline = time.monotonic() + TIMEOUT_S
        while partitions:
            message = self._consumer.poll(1)
            if message is None:
                assert time.monotonic() < deadline, f"no end of {sorted(partitions)}"
            elif (error := message.error()) is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                partitions.discard(message.partition() or 0)
            else:
                raise KafkaException(error)
        self._consumer.unassign()
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))

    def close(self) -> None:
        """Disconnect."""
        self._closing.close()


class Log:
    """A topic read from its beginning, and further each time it is asked; close it at the end."""

    def __init__(self, cluster: Address, topic: str) -> None:
        self._closing = contextlib.ExitStack()
        self._consumer = self._closing.enter_context(_reader(cluster))
        partitions = self._consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        self._partitions = set(partitions)
        self._behind = set(partitions)
        self._messages: list[Message] = []

    def read(self) -> list[Message]:
        """Return at least what was committed before the log was opened, in order by partition.

        Later records come with later calls: a call ends even while records keep coming.
        """
        deadline = time.monotonic() + TIMEOUT_S
        to_end = set(self._partitions)
        while to_end:
            first = self._consumer.poll(_PAUSE_S)
            if first is None:
                if not self._behind:
                    break
                assert time.monotonic() < deadline, f"no end of {self._behind}"
                continue
            # consume(n, t) alone would wait for the whole of n or the whole of t.
            for message in (first, *self._consumer.consume(10_000, 0)):
                if message.error() is None:
                    self._messages.append(message)
                else:
                    self._behind.discard(message.partition() or 0)
                    to_end.discard(message.partition() or 0)
        return self._messages

    def close(self) -> None:
        """Disconnect."""
        self._closing.close()


@contextlib.contextmanager
def _reader(cluster: Address) -> Iterator[Consumer]:
    consumer = Consumer(
        client_config(
            cluster,
            {
                "group.id": f"read-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
                **CONSUMER_DEFAULTS,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
            },
        )
    )
    try:
        yield consumer
    finally:
        consumer.close()


def create_topic(cluster: Address, name: str, *, partitions: int) -> None:
    """Create a topic with the broker's defaults; its partitions have leaders on return."""
    admin = AdminClient(client_config(cluster, {"log_level": 0}))
    new = NewTopic(name, num_partitions=partitions, replication_factor=1)
    admin.create_topics([new], operation_timeout=TIMEOUT_S)[name].result()
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = admin.list_topics(name, TIMEOUT_S).topics[name]
        if not found.error and all(one.leader >= 0 for one in found.partitions.values()):
            return
        assert time.monotonic() < deadline, f"{name} has no leader"
        time.sleep(0.02)


def delete_topics(cluster: Address, names: Iterable[str]) -> None:
    """Delete the topics, which the broker knows no more on return; one may not exist."""
    admin = AdminClient(client_config(cluster, {"log_level": 0}))
    unwanted = set(names)
    for answer in admin.delete_topics(list(unwanted), operation_timeout=TIMEOUT_S).values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    deadline = time.monotonic() + TIMEOUT_S
    while left := unwanted & admin.list_topics(timeout=TIMEOUT_S).topics.keys():
        assert time.monotonic() < deadline, f"{left} are still there"
        time.sleep(0.02)


def alter_topic(cluster: Address, name: str, config: Mapping[str, str]) -> None:
    """Set some of a topic's configuration."""
    admin = AdminClient(client_config(cluster, {"log_level": 0}))
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result(TIMEOUT_S)


class EphemeralTopic:
    """A topic that exists inside the `with` block only."""

    def __init__(self, cluster: Address, *, partitions: int = 1) -> None:
        self.cluster = cluster
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self._partitions = partitions

    def __enter__(self) -> Self:
        create_topic(self.cluster, self.name, partitions=self._partitions)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        delete_topics(self.cluster, [self.name])

    def produce(self, *records: Record | bytes) -> None:
        """Produce `records`, acknowledged on return."""
        produce(self.cluster, self.name, records)

    def read_all(self) -> list[Message]:
        """Every committed record so far."""
        return read_all(self.cluster, self.name)

    def assert_empty(self) -> None:
        """Fail if the topic holds a committed record."""
        assert not self.read_all()
