"""Read whole topics from their beginning, to keep a view of them in the process.

A reader joins no group and commits nothing: every process reads all partitions whenever it starts,
so its view is a function of the topic alone. Records of open or aborted transactions are not read.
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

from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Misconfigured

_BATCH: Final = 10_000


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


class TopicReader:
    """Reads all partitions of `topics`. Use it, and the messages it returns, in one thread.

    While the broker is down, also at the start, it returns nothing; afterwards it continues where
    it was. A process that starts again reads the latest record of every key, older records unless
    compaction has removed them, and tombstones for a day.

    Attributes:
        positions: the next offset of each partition that has been read from; `poll` has returned
            all records before it. Offsets of transaction markers and of records of aborted
            transactions are passed over.
    """

    def __init__(self, cluster: Address, topics: Iterable[str]) -> None:
        self.positions: dict[Partition, int] = {}
        self._topics = list(topics)
        self._partitions: list[Partition] = []
        self._behind: set[Partition] = set()
        self._consumer: Consumer = Consumer(
            client_config(
                cluster,
                {
                    "group.id": "avila-follower",  # required, but the reader never joins it
                    "isolation.level": "read_committed",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "fetch.error.backoff.ms": 100,
                    "reconnect.backoff.max.ms": 1_000,
                    "queued.max.messages.kbytes": 16_384,
                    **CONSUMER_DEFAULTS,
                    # The library reconnects by itself.
                    "log_level": 0,
                },
            )
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
        """Whether `poll` has returned all records that were committed when reading began.

        The broker reports each partition's end after markers and aborted records, so the reader
        reaches it even where those come last. The end lies before the first transaction that is
        open or lacks its marker, which the broker writes shortly after it has answered the commit:
        records of such a transaction are returned later.
        """
        return bool(self._partitions) and not self._behind

    def poll(self, timeout_s: float) -> list[Message]:
        """Return up to 10,000 of the next records, in order within each partition.

        Blocks until there is one, for about `timeout_s` at most; it may return none before that.
        Until the broker has named the partitions, it waits at least half a second for that.
        `caught_up` and `positions` already include the records returned.

        Raises:
            Misconfigured: a topic does not exist, or access to it is denied.
        """
        if not self._partitions and not self._assign(max(timeout_s, _METADATA_TIMEOUT_S)):
            return []
        # consume(n, t) alone would wait until it has n records or t has passed.
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        batch = [first, *self._consumer.consume(_BATCH - 1, 0)]
        return [message for message in batch if self._take(message)]

    def lag(self) -> int:
        """Return how many entries (records and transaction markers) have not been read yet.

        Does not block: the ends of partitions are those of the broker's latest responses.
        """
        lag = 0
        for partition in self._partitions:
            end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
            lag += max(0, end - self.positions.get(partition, 0))
        return lag

    def close(self) -> None:
        """Close the connection; call it in the thread that polls, or after that has ended."""
        self._consumer.close()

    def _assign(self, timeout_s: float) -> bool:
        found = []
        for topic in self._topics:
            try:
                metadata = self._consumer.list_topics(topic, timeout_s).topics[topic]
            except KafkaException as failure:
                _raise_unless_transient(topic, failure.args[0])
                return False
            if metadata.error:
                _raise_unless_transient(topic, metadata.error)
                return False
            found += [Partition(topic, number) for number in metadata.partitions]
        self._behind = set(found)
        self._partitions = found
        self._consumer.assign(
            [TopicPartition(*partition, offset=OFFSET_BEGINNING) for partition in found]
        )
        return True

    def _take(self, message: Message) -> bool:
        """Update the position; return whether the message is a record."""
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
            _raise_unless_transient(topic, error)
        return False


_METADATA_TIMEOUT_S: Final = 0.5  # no broker answers within no time at all
_END_OF_PARTITION: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
_FINAL: Final = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
}


def _raise_unless_transient(topic: str, error: KafkaError) -> None:
    if error.code() in _FINAL or error.fatal():
        raise Misconfigured(
            f"topic {topic} cannot be read ({error.str()}): create it with `avila topics`, or "
            "correct AVILA_TOPIC_PREFIX"
        )
