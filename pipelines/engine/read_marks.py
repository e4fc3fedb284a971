"""Up to which moment all events of a partition have been read.

A partition without events cannot say that time passes: what was acknowledged may still wait in the
inbox, because its worker was away or is behind. So a worker asks the broker, about offsets that it
has committed:

    moment ─▶ end of the inbox: nothing left to read ─▶ end of the event store: nothing left to read

Events of partition p of the event store come from partition p of the inbox. If nothing was left
at either end, in this order, all that was acknowledged before the moment is in the state. A worker
that is behind, or does not have the inbox's partition, says nothing.

The broker is asked in a thread: reading goes on meanwhile.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog
from confluent_kafka import KafkaException

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import TopicPartition
from schemas.cluster import Address

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 1.0
_QUEUED_KBYTES: Final = 1_024
_MAX_WAITS: Final = 5  # of a tenth of a second each


class ReadMarks:
    """Finds the moments of some partitions, once a second at most. Not thread-safe."""

    def __init__(self, cluster: Address, inbox: str, events: str) -> None:
        self._cluster = cluster
        self._inbox = inbox
        self._events = events
        self._reader: Reader | None = None  # of the thread
        self._thread = ThreadPoolExecutor(1, "read marks")
        self._asked: Future[dict[int, int]] | None = None
        self._next_at = 0.0

    def take(self) -> dict[int, int]:
        """Return the moments (ms) that were found since the last call, by partition."""
        if self._asked is None or not self._asked.done():
            return {}
        found, self._asked = self._asked.result(), None
        return found

    def ask(self, numbers: Iterable[int], committed: Mapping[TopicPartition, int]) -> None:
        """Begin to find the moments of some partitions; blocks for nothing.

        `committed` are the offsets up to which this worker has processed and committed its sources.
        """
        known = {
            number: (committed[inbox], committed[events])
            for number in numbers
            if (inbox := TopicPartition(self._inbox, number)) in committed
            and (events := TopicPartition(self._events, number)) in committed
        }
        now = time.monotonic()
        if known and self._asked is None and now >= self._next_at:
            self._next_at = now + _INTERVAL_S
            self._asked = self._thread.submit(self._find, known)

    def _find(self, known: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        found = {}
        try:
            if self._reader is None:
                self._reader = Reader(self._cluster, _QUEUED_KBYTES)
            for number, (inbox, events) in known.items():
                moment_ms = time.time_ns() // 1_000_000
                if self._is_at_end(self._reader, TopicPartition(self._inbox, number), inbox) and (
                    self._is_at_end(self._reader, TopicPartition(self._events, number), events)
                ):
                    found[number] = moment_ms
        except KafkaException as error:
            log.warning("the ends of partitions are not known", reason=str(error))
            self._reader = None
        return found

    @staticmethod
    def _is_at_end(reader: Reader, source: TopicPartition, position: int) -> bool:
        """Return whether there is no record from a position up to the end as of this call.

        The offsets that are left may be those of the markers of transactions.
        """
        first, end = reader.bounds(source)
        for waits, records in enumerate(reader.read(source, max(position, first), end)):
            if records is not None or waits >= _MAX_WAITS:
                return False
        return True
