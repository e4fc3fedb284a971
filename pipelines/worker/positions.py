"""The offsets that a worker has committed, on a topic of our own.

Kafka forgets the committed offsets of a group that is empty for long (`offsets.retention.minutes`,
seven days), and an administrator may delete them. A worker that began at the first record again
would count everything twice. So each transaction writes the positions that it commits to a
compacted topic as well; they are read where the group has none.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from schemas.errors import Misconfigured

log = structlog.get_logger(__name__)

MissingOffsets: TypeAlias = Literal["refuse", "beginning", "end"]

_PARTITION: Final = 0  # the topic has one


class _Position(msgspec.Struct, frozen=True):
    """Where a group continues in a partition of the topic with this id."""

    offset: int
    log_id: str


class PositionLog:
    """The positions of one group. Every method may block, and belongs on the Kafka thread."""

    def __init__(self, reader: Reader, group: str, topic: str) -> None:
        self._reader = reader
        self._group = group
        self._topic = topic
        self._log_ids: dict[
            TopicPartition, str
        ] = {}  # of the partitions whose positions are logged
        self._logged: dict[TopicPartition, int] = {}

    def open(self, source: TopicPartition, log_id: str) -> None:
        """Log the positions of a partition from now on.

        Raises:
            KafkaException: the broker does not answer.
        """
        if not self._topic:
            return
        if self._reader.partitions(self._topic):
            self._log_ids[source] = log_id
        else:
            log.warning("positions are not logged: `avila topics` makes it", topic=self._topic)

    def drop(self, source: TopicPartition) -> None:
        """Log no more positions of a partition, and forget what was written of it."""
        self._log_ids.pop(source, None)
        self._logged.pop(source, None)

    def write(self, positions: Mapping[TopicPartition, int], outbox: Outbox) -> None:
        """Put the positions that have changed into the outbox, before a commit of all of them."""
        changed = {
            source: positions[source]
            for source in self._log_ids.keys() & positions.keys()
            if self._logged.get(source) != positions[source]
        }
        self._logged |= changed
        values = [
            msgspec.json.encode(_Position(offset, self._log_ids[source]))
            for source, offset in changed.items()
        ]
        outbox.send(self._topic, list(map(self._key, changed)), values, partition=_PARTITION)

    def find(self, source: TopicPartition) -> int | None:
        """Return where to continue in a partition, or None if nothing was committed of it.

        It is the last committed position. If the topic has been deleted and made again since, it is
        the first record: none of these has been processed.

        Raises:
            KafkaException: the broker does not answer.
        """
        if not self._topic or not self._reader.partitions(self._topic):
            return None
        key, found = self._key(source), None
        for records in self._reader.read(TopicPartition(self._topic, _PARTITION), 0):
            if records is not None and key in records.keys:
                last = len(records) - 1 - records.keys[::-1].index(key)
                found = records.values[last]
        if not found:
            return None
        position = msgspec.json.decode(found, type=_Position)
        if position.log_id != self._reader.log_id(source.topic):
            first, _ = self._reader.bounds(source)
            log.warning("the topic was deleted and made again", source=source, continuing_at=first)
            return first
        return position.offset

    def _key(self, source: TopicPartition) -> bytes:
        return f"{self._group}/{source.topic}/{source.partition}".encode()


def decide_missing_offset(
    reader: Reader,
    positions: PositionLog,
    source: TopicPartition,
    outputs: Iterable[str],
    policy: MissingOffsets,
) -> int:
    """Return where to continue in a partition without a committed offset.

    It is the position that our own topic knows. Without one, a partition is read from its first
    record, unless `outputs`, the topics that are written from it, say that it was processed before:
    then `policy` decides.

    Raises:
        Misconfigured: the partition was processed before, and the policy is to refuse.
        KafkaException: the broker does not answer.
    """
    known = positions.find(source)
    first, end = reader.bounds(source)
    if known is not None:
        log.warning("Kafka has forgotten the offset: continuing from our own", source=source)
        return known
    written = [output for output in outputs if reader.has_records(output)]
    if not end or not written:
        return first
    if policy != "refuse":
        log.warning("Kafka has forgotten the offset", source=source, continuing_at_the=policy)
        return first if policy == "beginning" else end
    raise Misconfigured(
        f"Kafka has no committed offset for {source.topic}/{source.partition}, but "
        f"{', '.join(written)} has records that were made of it, so reading it from its beginning "
        "would count them twice: start the worker once with AVILA_MISSING_OFFSETS=end to continue "
        "with what comes from now on, or with AVILA_MISSING_OFFSETS=beginning to count everything "
        "again, as in `AVILA_MISSING_OFFSETS=end avila worker`"
    )
