"""A member of a consumer group that reads, decides and writes in transactions: exactly once.

Each transaction has the member's offsets with its generation in the group. So whoever has lost its
partitions, a process that hung or was cut off, cannot commit any more: what it wrote is aborted.
A failure of any kind ends the member; its owner starts another, which reads its state again from
what was committed.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from schemas.cluster import client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.follower import Partition
from schemas.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0
_TRANSACTION_TIMEOUT_MS: Final = 15_000
_BATCH: Final = 500
_ANY_PARTITION: Final = -1  # by the key
_END_OF_PARTITION: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 (its public name)
_PASSING: Final = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}
_UNSTABLE: Final = KafkaError.UNSTABLE_OFFSET_COMMIT


class Record(NamedTuple):
    """A record to write; without a partition, it goes by its key."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None = None


class GroupMember:
    """A member of the group `<app id>-<name>` on `topics`. Use it in one thread, in a `with` block.

    `assigned` is called by `poll` with partitions that are ours from now on, and their committed
    offsets (None without one); it returns where reading begins. `revoked` is called with those that
    are ours no longer. Each method raises `KafkaException` if Kafka does not do what is asked: then
    end the member.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        topics: Sequence[str],
        assigned: Callable[[dict[Partition, int | None]], dict[Partition, int]],
        revoked: Callable[[Sequence[Partition]], None],
    ) -> None:
        own = f"{settings.app_id}-{name}"
        self._topics = list(topics)
        self._assigned, self._revoked = assigned, revoked
        self._partitions: set[Partition] = set()
        self._failure: KafkaException | None = None  # of a callback
        config: dict[str, object] = {
            "group.id": own,
            # A process that is started again has its partitions back at once.
            "group.instance.id": f"{own}-{settings.worker_name}",
            "session.timeout.ms": settings.session_timeout_ms,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            "fetch.error.backoff.ms": 100,
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 0,
            **CONSUMER_DEFAULTS,
        }
        self._consumer = Consumer(client_config(settings.cluster, config))
        self._producer = Producer(
            client_config(
                settings.cluster,
                {
                    "transactional.id": f"{own}-{settings.worker_name}",
                    "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
                    "partitioner": "murmur2_random",
                    "linger.ms": 0,
                    "log_level": 0,
                },
            )
        )

    def __enter__(self) -> Self:
        """Fence an earlier process of this name, and join the group."""
        try:
            self._producer.init_transactions(CALL_TIMEOUT_S)
            self._subscribe()
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Read other topics from now on; those that are read already continue where they are."""
        if list(topics) != self._topics:
            self._topics = list(topics)
            self._subscribe()

    def _subscribe(self) -> None:
        if self._topics:
            self._consumer.subscribe(
                self._topics,
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
        else:
            self._consumer.unsubscribe()

    @property
    def partitions(self) -> set[Partition]:
        """The partitions that are ours."""
        return self._partitions

    def poll(self, timeout_s: float) -> list[Message]:
        """Return some of the next records; none after `timeout_s` without any."""
        if not self._topics:
            time.sleep(timeout_s)
            return []
        first = self._consumer.poll(timeout_s)
        if self._failure is not None:
            raise self._failure
        if first is None:
            return []
        found = [first, *self._consumer.consume(_BATCH - 1, 0)]
        if self._failure is not None:
            raise self._failure
        for message in found:
            if (error := message.error()) is not None and not error.retriable():
                raise KafkaException(error)
        return [message for message in found if message.error() is None]

    def position(self, partition: Partition) -> int:
        """Return the next offset of a partition that `poll` will read."""
        (place,) = self._consumer.position([TopicPartition(*partition)])
        return max(place.offset, 0)

    def end_of(self, partition: Partition) -> int:
        """Ask the broker for the end of a partition, of any topic."""
        place = TopicPartition(*partition)
        ends = _retrying(
            lambda: self._consumer.get_watermark_offsets(place, timeout=CALL_TIMEOUT_S)
        )
        return ends[1]

    def offsets_since(self, since_ms: dict[Partition, int]) -> dict[Partition, int]:
        """Ask the broker for the first offsets of records that are not older than a time (ms)."""
        # The ends first: a record that comes meanwhile must not be passed over.
        ends = {partition: self.end_of(partition) for partition in since_ms}
        asked = [TopicPartition(*partition, ms) for partition, ms in since_ms.items()]
        found = _retrying(lambda: self._consumer.offsets_for_times(asked, timeout=CALL_TIMEOUT_S))
        return {
            (at := Partition(place.topic, place.partition)): (
                place.offset if place.offset >= 0 else ends[at]
            )
            for place in found
        }

    def commit(self, records: Iterable[Record], offsets: dict[Partition, int]) -> None:
        """Write records and commit offsets: all of them or nothing.

        Raises:
            KafkaException: it is not committed, or perhaps not.
        """
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        self._producer.begin_transaction()
        for record in records:
            number = _ANY_PARTITION if record.partition is None else record.partition
            while True:
                try:
                    self._producer.produce(
                        record.topic, record.value, record.key, number, on_delivery=delivered
                    )
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
        places = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        if places:
            self._producer.send_offsets_to_transaction(
                places, self._consumer.consumer_group_metadata(), CALL_TIMEOUT_S
            )
        self._producer.commit_transaction(CALL_TIMEOUT_S)
        if failures:
            raise KafkaException(failures[0])

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        found = {Partition(place.topic, place.partition): place for place in places}
        try:
            begins = self._assigned(self._committed(consumer, places))
        except KafkaException as error:
            # `poll` raises it: the library spoils what a callback raises.
            self._failure = error
            return
        self._partitions = set(found)
        consumer.assign([TopicPartition(*one, begins.get(one, OFFSET_BEGINNING)) for one in found])
        log.info("partitions assigned", topics=self._topics, count=len(found))

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        lost = [Partition(place.topic, place.partition) for place in places]
        self._partitions -= set(lost)
        self._revoked(lost)
        consumer.unassign()

    def _committed(
        self, consumer: Consumer, places: list[TopicPartition]
    ) -> dict[Partition, int | None]:
        """Return the committed offsets, once no transaction of an earlier owner is open."""
        deadline = time.monotonic() + _TRANSACTION_TIMEOUT_MS / 1_000 + CALL_TIMEOUT_S
        while places:
            try:
                found = consumer.committed(places, CALL_TIMEOUT_S)
            except KafkaException as failure:
                error = failure.args[0]
                passing = error.retriable() or error.code() in _PASSING
                if not passing or time.monotonic() > deadline:
                    raise
            else:
                errors = [place.error for place in found if place.error is not None]
                if not errors:
                    return {
                        Partition(place.topic, place.partition): (
                            None if place.offset == OFFSET_INVALID else place.offset
                        )
                        for place in found
                    }
                if errors[0].code() != _UNSTABLE or time.monotonic() > deadline:
                    raise KafkaException(errors[0])
            time.sleep(0.1)
        return {}


def _retrying(call: Callable[[], T]) -> T:
    """Repeat a call while brokers elect a leader, as they do for a new topic."""
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while True:
        try:
            return call()
        except KafkaException as failure:
            error = failure.args[0]
            if not (error.retriable() or error.code() in _PASSING) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def read_partitions(
    settings: Settings,
    begins: dict[Partition, int],
    take: Callable[[Message], bool],
    *,
    timeout_s: float = 120.0,
) -> dict[Partition, int]:
    """Read committed records of some partitions in order, up to their present ends.

    `take` is called with each, and ends the reading by returning False. Returns the next offset of
    each partition. Blocks.

    Raises:
        KafkaException: Kafka does not answer in time.
    """
    config: dict[str, object] = {
        "group.id": "avila-follower",  # required, but never joined
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "log_level": 0,
        **CONSUMER_DEFAULTS,
    }
    consumer = Consumer(client_config(settings.cluster, config))
    positions = dict(begins)
    left = set(begins)
    deadline = time.monotonic() + timeout_s
    try:
        consumer.assign([TopicPartition(*one, offset) for one, offset in begins.items()])
        while left:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            first = consumer.poll(0.5)
            if first is None:
                continue
            for message in (first, *consumer.consume(_BATCH - 1, 0)):
                topic, number, offset = message.topic(), message.partition(), message.offset()
                assert topic is not None
                assert number is not None
                partition = Partition(topic, number)
                error = message.error()
                if error is None:
                    assert offset is not None
                    if not take(message):
                        positions[partition] = offset
                        return positions
                    positions[partition] = offset + 1
                elif error.code() == _END_OF_PARTITION:
                    assert offset is not None
                    positions[partition] = max(offset, positions[partition])
                    left.discard(partition)
                elif not error.retriable():
                    raise KafkaException(error)
    finally:
        consumer.close()
    return positions
