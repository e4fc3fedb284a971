"""How definitions that are new catch up with history, one batch of past events at a time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import structlog
from confluent_kafka import KafkaException

from pipelines.engine.partition import Partition
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Records, TopicPartition
from schemas.cluster import Address
from schemas.time.since import ALL_TIME

log = structlog.get_logger(__name__)

_CATCH_UP_BATCH: Final = 20_000  # events
_MAX_WAITS: Final = 20  # of a tenth of a second each
_CLOCKS_DIFFER_MS: Final = 3_600_000
_QUEUED_KBYTES: Final = 16_384  # of each partition: several are read in turns
_END: Final = object()


class Backfills:
    """The backfills of all partitions; reads the event store in steps.

    `process` is called with a partition's number, past records, and the offset from which on they
    are all records that there are.
    """

    def __init__(
        self, cluster: Address, topic: str, process: Callable[[int, Records, int], None]
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._process = process
        self._running: dict[int, Iterator[None]] = {}

    def start_offset(self, number: int, since_ms: int, skew_ms: int, position: int) -> int:
        """Return an offset before which no event is as new as `since_ms`; at most `position`.

        No event is newer than its record by more than `skew_ms`, and by what the clocks of machines
        differ. If the broker cannot tell, it is the first offset: then more is read.
        """
        if since_ms == ALL_TIME:
            return 0
        earliest_ms = max(since_ms - skew_ms - _CLOCKS_DIFFER_MS, 0)
        try:
            with closing(Reader(self._cluster)) as reader:
                source = TopicPartition(self._topic, number)
                return min(reader.offset_at(source, earliest_ms), position)
        except KafkaException as error:
            log.warning("backfilling from the beginning", partition=number, reason=str(error))
            return 0

    def step(self, number: int, partition: Partition) -> None:
        """Process the next batch, or wait for it a moment. What fails is tried again later."""
        running = self._running.setdefault(number, self._run(number, partition))
        try:
            ended = next(running, _END) is _END
        except KafkaException as error:
            log.warning("backfill waits", partition=number, reason=str(error))
            ended = True
        if ended:
            del self._running[number]

    def drop(self, number: int) -> None:
        """End the backfill of a partition that is given up."""
        self._running.pop(number, None)

    def _run(self, number: int, partition: Partition) -> Iterator[None]:
        """Take a partition's definitions through history, batch by batch, until they are live.

        The last few batches are processed in one step: the partition must not move on meanwhile.
        """
        source = TopicPartition(self._topic, number)
        with closing(Reader(self._cluster, _QUEUED_KBYTES)) as reader:
            while backfilling := partition.backfilling.values():
                begin, end = min(backfill.at for backfill in backfilling), partition.position
                waits = 0
                for records in reader.read(source, begin, end):
                    if records is None:
                        waits += 1
                    else:
                        self._process(number, records, begin)
                        begin = records.next_offset
                    if end - begin > _CATCH_UP_BATCH or waits > _MAX_WAITS:
                        yield
                if partition.position == end:
                    for key in partition.promote(begin):
                        log.info("live", definition=key.name, partition=number, since=end)
