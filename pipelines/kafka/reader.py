"""Reads a range of one partition outside of any consumer group, to restore state."""

import time
from collections.abc import Iterator
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from pipelines.kafka.consumers import open_consumer
from pipelines.kafka.fetched import Fetched
from pipelines.kafka.records import Records, TopicPartition
from pipelines.kafka.retry import QUIET, log_client_error
from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS

log = structlog.get_logger(__name__)

_BATCH = 20_000
_METADATA_TIMEOUT_S = 30.0
_RETRY_S = 0.1


class Reader:
    """Reads committed records between two offsets. Not thread-safe; every method may block.

    It reads up to `queued_kbytes` ahead, or as much as librdkafka does by default.
    """

    def __init__(self, cluster: Address, queued_kbytes: int | None = None) -> None:
        own: dict[str, object] = {
            "group.id": "avila-reader",  # required, but nothing is ever committed to it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
            **CONSUMER_DEFAULTS,
            # A fetch that finds nothing shows the end, and nothing else fetches in between.
            "fetch.wait.max.ms": 20,
            **QUIET,
        }
        if queued_kbytes is not None:
            own["queued.max.messages.kbytes"] = queued_kbytes
        config = client_config(cluster, own)
        self._consumer = open_consumer(config, log_client_error)
        # The end of a partition must include open transactions: see `read`.
        self._bounds = Consumer(config | {"isolation.level": "read_uncommitted"})
        self._admin = AdminClient(client_config(cluster, QUIET))
        self.share = 0.0  # of the range being read, 0 to 1

    def bounds(self, source: TopicPartition) -> tuple[int, int]:
        """Return the first offset that is kept, and the offset that the next record will get.

        While the partition has no leader, which is so for a moment after it was made or when a
        broker goes, the call is repeated for up to half a minute.
        """
        deadline = time.monotonic() + _METADATA_TIMEOUT_S
        while True:
            try:
                return self._bounds.get_watermark_offsets(
                    KafkaPartition(*source), timeout=_METADATA_TIMEOUT_S
                )
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_S)

    def offset_at(self, source: TopicPartition, timestamp_ms: int) -> int:
        """Return the first offset whose record is at least as new as `timestamp_ms`, or the end."""
        asked = KafkaPartition(*source, timestamp_ms)
        (found,) = self._bounds.offsets_for_times([asked], timeout=_METADATA_TIMEOUT_S)
        return found.offset if found.offset >= 0 else self.bounds(source)[1]

    def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has, 0 if there is no such topic."""
        found = self._bounds.list_topics(topic, _METADATA_TIMEOUT_S).topics[topic]
        return 0 if found.error else len(found.partitions)

    def has_records(self, topic: str) -> bool:
        """Return whether anything was ever written to the topic."""
        count = self.partitions(topic)
        return any(self.bounds(TopicPartition(topic, number))[1] for number in range(count))

    def log_id(self, topic: str) -> str:
        """Return what identifies the topic among all that ever bore its name: cluster and topic id.

        Raises:
            KafkaException: the broker does not answer, or has no such topic.
        """
        cluster = self._bounds.list_topics(topic, _METADATA_TIMEOUT_S).cluster_id
        topics = TopicCollection([topic])
        (answer,) = self._admin.describe_topics(
            topics, request_timeout=_METADATA_TIMEOUT_S
        ).values()
        return f"{cluster}/{answer.result().topic_id}"

    def read(
        self, source: TopicPartition, start: int, end: int | None = None
    ) -> Iterator[Records | None]:
        """Yield the committed records from `start` up to, but not including, `end`.

        Without `end` it reads up to the end of the partition as of the call. It yields None while
        it waits, so that the caller can do other work. It waits until every transaction that was
        open below `end` is committed or aborted: a reader that stopped at the last stable offset
        could miss records that were committed after the start of a dead worker's open transaction.

        Raises:
            KafkaException: the broker refused a request; retry the whole read.
        """
        first, last = self.bounds(source)
        end = last if end is None else end
        if 0 < start < min(first, end):
            log.warning(
                "offsets are gone", source=source, first_gone=start, last_gone=min(first, end) - 1
            )
        position = begin = max(start, first)
        self.share = 0.0
        if position >= end:
            return
        self._consumer.assign([KafkaPartition(*source, position)])
        try:
            while position < end:
                fetched = self._consumer.fetch(_BATCH, 0.1)
                position = max(position, _position_after(fetched))
                self.share = min(1.0, (position - begin) / (end - begin))
                batches = [records.before(end) for records in fetched.records]
                yield from filter(None, batches)
                if not any(batches):
                    yield None
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._bounds.close()


def _position_after(fetched: Fetched) -> int:
    """Return where to continue: after the last record, or at the end of the partition.

    Raises:
        KafkaException: there is an error besides that end.
    """
    for failed in fetched.errors:
        if failed.error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (its public name)
            raise KafkaException(failed.error)
    ends = [failed.offset for failed in fetched.errors]
    return max([*ends, *(records.next_offset for records in fetched.records)], default=0)


_LEADERLESS: Final = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
