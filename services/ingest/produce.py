"""Produce records, and report once per request which of them the broker has acknowledged.

The event loop's thread produces. A second thread polls for delivery reports and passes them to the
loop, which alone keeps the state of requests.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError

from pipelines.kafka.bulk_producer import BulkProducer, RecordColumns, Reports
from schemas.cluster import Address, client_config
from services.ingest.limits import Limits

_POLL_MS: Final = 100  # also bounds how long `close` takes
_READY_TIMEOUT_MS: Final = 2_000

# A record's tag is the number of its request, and its index there in the low bits.
_PLACE_BITS: Final = 32
_MAX_REQUESTS: Final = 1 << 31


class Failure(NamedTuple):
    """Why the broker may not have a record; a `too_large` record is refused for ever."""

    reason: str
    too_large: bool


@dataclass(slots=True)
class _Request:
    """One `send`: records without a report yet, failures by index, and the future of its caller."""

    pending: int
    future: asyncio.Future[None]
    failures: dict[int, Failure] = field(default_factory=dict)


class Producer:
    """An idempotent producer to one topic, used from one event loop.

    `on_fatal` is called once, in the loop, when librdkafka can deliver no more: from then on every
    record fails, and only a new process helps.

    Attributes:
        unacknowledged: records that wait for the broker's acknowledgement.
    """

    def __init__(
        self, cluster: Address, topic: str, limits: Limits, on_fatal: Callable[[str], None]
    ) -> None:
        self.unacknowledged = 0
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, _Request] = {}
        self._next = 0
        self._closing = False
        self._fatal = ""
        self._kafka = BulkProducer(
            client_config(
                cluster,
                {
                    "acks": "all",
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                    "linger.ms": 1,
                    "compression.type": "lz4",
                    "socket.nagle.disable": True,
                    "delivery.timeout.ms": limits.delivery_timeout_ms,
                    # Above the number admitted, so that the queue is hardly ever full.
                    "queue.buffering.max.messages": 2 * limits.max_unacknowledged_events,
                    "queue.buffering.max.kbytes": limits.max_held_bytes >> 10,
                    "message.max.bytes": limits.max_event_bytes + _RECORD_OVERHEAD,
                    # Find a broker that has come back within a second, not within ten.
                    "reconnect.backoff.ms": 50,
                    "reconnect.backoff.max.ms": 1_000,
                    "log_level": 0,
                },
            ),
            topic,
        )
        self._thread = threading.Thread(target=self._poll, name="ingest-producer", daemon=True)
        self._thread.start()

    async def send(self, parts: Sequence[RecordColumns]) -> dict[int, Failure]:
        """Produce all records, wait for the broker, and return the failures by index.

        Waits at most for the delivery timeout. Records of one key keep their order. They are
        delivered even if the caller is cancelled.
        """
        count = sum(len(records.ends) for records in parts)
        if not count:
            return {}
        request = _Request(count, self._loop.create_future())
        self._requests[self._next] = request
        self.unacknowledged += count
        tag = self._next << _PLACE_BITS
        self._next = (self._next + 1) % _MAX_REQUESTS
        for records in parts:
            end = tag + len(records.ends)
            self._settle(self._kafka.produce(records, np.arange(tag, end)))
            tag = end
        await request.future
        return request.failures

    async def is_ready(self) -> bool:
        """Return whether the broker answers and has the topic; waits at most two seconds."""
        if self._closing or self._fatal:
            return False
        return await asyncio.to_thread(self._kafka.is_ready, _READY_TIMEOUT_MS)

    async def close(self) -> None:
        """Wait for all delivery reports, then end the thread and the connections."""
        self._closing = True
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._kafka.close)

    def _poll(self) -> None:
        try:
            while len(self._kafka) or not self._closing:
                reports = self._kafka.poll(_POLL_MS)
                if len(reports.tags):
                    self._loop.call_soon_threadsafe(self._settle, reports)
                if self._kafka.fatal:
                    self._fail(self._kafka.fatal)
        except Exception as error:  # noqa: BLE001  # `on_fatal` ends the process
            self._fail(repr(error))

    def _settle(self, reports: Reports) -> None:
        tags, codes = reports
        if not len(tags):
            return
        for tag, code in zip(tags[codes != 0].tolist(), codes[codes != 0].tolist(), strict=True):
            number, place = divmod(tag, 1 << _PLACE_BITS)
            self._requests[number].failures[place] = _failure(KafkaError(code))
        self.unacknowledged -= len(tags)
        numbers = tags >> _PLACE_BITS
        ends = np.append(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1, len(numbers))
        counts = np.diff(ends, prepend=0)
        for number, count in zip(numbers[ends - 1].tolist(), counts.tolist(), strict=True):
            request = self._requests[number]
            request.pending -= count
            if not request.pending:
                del self._requests[number]
                if not request.future.done():  # done if the caller was cancelled
                    request.future.set_result(None)

    def _fail(self, reason: str) -> None:
        if not self._fatal:
            self._fatal = reason
            self._loop.call_soon_threadsafe(self._on_fatal, reason)


# An upper bound for the key and for the headers of a record and its batch.
_RECORD_OVERHEAD: Final = 4_096


def _failure(error: KafkaError) -> Failure:
    if error.code() in _TOO_LARGE:
        return Failure(f"the broker refuses a record of this size: {error.str()}", True)
    return Failure(f"not acknowledged: {error.str()}", False)


_TOO_LARGE: Final[frozenset[int]] = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}
)
