"""Follow compacted topics from their beginning: how a process holds a view of what others decide.

A follower joins no group and commits nothing: each process reads every partition, whole, at every
start, so its view is a fold of the topic and of nothing else. Records of open or aborted
transactions are never seen.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Final, NamedTuple, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Misconfigured

_BATCH: Final = 10_000


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


class TopicReader:
    """Reads all partitions of `topics`; for one thread, like everything it returns.

    It outlives restarts of the broker, also one that is away at the start: it returns nothing
    meanwhile, and goes on where it was. Reading again after a restart of the process gives every
    key's newest record, older ones as far as compaction has left them, and tombstones for a day.

    Attributes:
        positions: the offset that comes next, for each partition of which something is known; all
            records before it have been returned by `poll`. It also passes what transactions leave
            behind (their markers, the records of aborted ones).
    """

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        self.positions: dict[Partition, int] = {}
        self._topics = list(topics)
        self._partitions: list[Partition] = []
        self._behind: set[Partition] = set()
        self._consumer: Consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "avila-follower",  # librdkafka asks for a name, although none joins
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.error.backoff.ms": 100,
                "reconnect.backoff.max.ms": 1_000,
                "queued.max.messages.kbytes": 16_384,
                **CONSUMER_DEFAULTS,
                # Lost connections are mended by the library.
                "log_level": 0,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def caught_up(self) -> bool:
        """Whether all that was committed when reading began has been returned by `poll`.

        Each partition's end is told by the broker and lies behind what transactions leave there,
        so an aborted one, or a marker as the last entry, does not keep it from being reached. It
        lies before a transaction that is still open, or whose marker is yet to be written (the
        broker does that soon after it has answered the commit): such a record comes later.
        """
        return bool(self._partitions) and not self._behind

    def poll(self, timeout_s: float) -> list[Message]:
        """Return the next records in the order of each partition, at most some thousands.

        Blocks until there is at least one, no longer than about `timeout_s`; may return none
        earlier. What `caught_up` and `positions` say includes the records returned.

        Raises:
            Misconfigured: a topic does not exist, or may not be read.
        """
        if not self._partitions and not self._assign(timeout_s):
            return []
        # consume(n, t) alone would wait for the whole of n or the whole of t.
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        batch = [first, *self._consumer.consume(_BATCH - 1, 0)]
        return [message for message in batch if self._take(message)]

    def lag(self) -> int:
        """Return how many entries (records and transaction markers) the broker holds beyond.

        Does not block: it is what the broker's last answers said.
        """
        lag = 0
        for partition in self._partitions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            lag += max(0, end - self.positions.get(partition, 0))
        return lag

    def close(self) -> None:
        """Let go of the broker; call it from the thread that polls, or after that has ended."""
        self._consumer.close()

    def _assign(self, timeout_s: float) -> bool:
        found = []
        for topic in self._topics:
            try:
                metadata = self._consumer.list_topics(topic, timeout_s).topics[topic]
            except KafkaException as failure:
                _raise_unless_passing(topic, failure.args[0])
                return False
            if metadata.error:
                _raise_unless_passing(topic, metadata.error)
                return False
            found += [Partition(topic, number) for number in metadata.partitions]
        self._behind = set(found)
        self._partitions = found
        self._consumer.assign(
            [TopicPartition(*partition, offset=OFFSET_BEGINNING) for partition in found]
        )
        return True

    def _take(self, message: Message) -> bool:
        """Note where the message stands; tell whether it is a record."""
        error = message.error()
        topic, number, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        if error is None:
            assert number is not None
            assert offset is not None
            self.positions[Partition(topic, number)] = offset + 1
            return True
        if error.code() == _END_OF_PARTITION:
            assert number is not None
            assert offset is not None
            self.positions[Partition(topic, number)] = offset
            self._behind.discard(Partition(topic, number))
        else:
            _raise_unless_passing(topic, error)
        return False


_END_OF_PARTITION: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
_FINAL: Final = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
}


def _raise_unless_passing(topic: str, error: KafkaError) -> None:
    if error.code() in _FINAL or error.fatal():
        raise Misconfigured(
            f"topic {topic} cannot be followed ({error.str()}): create it with `avila topics`, "
            "or mend AVILA_TOPIC_PREFIX"
        )
