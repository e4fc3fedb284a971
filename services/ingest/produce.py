"""Brings records to the broker and says, once for a whole request, which of them it has.

The loop's thread produces, one thread of our own polls. A delivery report is one call of the
request's countdown on the polling thread; when a poll ends, the loop is woken once for all requests
that are complete by then.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypedDict, cast

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as KafkaProducer

from services.ingest.limits import Limits

# Below 0.2 s: a longer poll serves its callbacks at once but returns only when its time is over.
_POLL_S: Final = 0.5
_READY_TIMEOUT_S: Final = 2.0


class Record(TypedDict):
    """What to produce, as the Kafka library takes it."""

    key: bytes
    value: bytes


class Failure(NamedTuple):
    """Why the broker does not, or may not, have a record; `too_large` records never fit."""

    reason: str
    too_large: bool


class _Countdown:
    """Counts the delivery reports of one request; the polling thread calls it, once a record.

    `reported` is written by the polling thread alone and `expected` by the loop's alone, so neither
    needs a lock: the last of the two writes is seen by one of the two sides at least, and to
    complete a request twice does no harm.
    """

    __slots__ = ("_complete", "expected", "failed", "finished", "future", "reported")

    def __init__(
        self, expected: int, future: asyncio.Future[None], complete: Callable[["_Countdown"], None]
    ) -> None:
        self.expected = expected
        self.reported = 0
        self.finished = False
        self.failed: list[tuple[bytes | None, KafkaError]] = []
        self.future = future
        self._complete = complete

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append((message.value(), error))
        self.reported += 1
        if self.reported == self.expected:
            self._complete(self)


class Producer:
    """An idempotent producer onto one topic, used from one event loop.

    `on_fatal` is called in the loop, once, when nothing can be delivered any more: every record is
    answered with a failure from then on, and only a new process helps.
    """

    def __init__(
        self, bootstrap: str, topic: str, limits: Limits, on_fatal: Callable[[str], None]
    ) -> None:
        self.unacknowledged = 0
        self._topic = topic
        self._limits = limits
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._complete: list[_Countdown] = []
        self._closing = False
        self._fatal = ""
        self._kafka = KafkaProducer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 1,
                "compression.type": "lz4",
                "socket.nagle.disable": True,
                "delivery.timeout.ms": limits.delivery_timeout_ms,
                # Above what is ever admitted, so that a full queue is the exception.
                "queue.buffering.max.messages": 2 * limits.max_unacknowledged_events,
                "queue.buffering.max.kbytes": limits.max_held_bytes >> 10,
                "message.max.bytes": limits.max_event_bytes + _RECORD_OVERHEAD,
                # A broker that is back is to be found within a second, not within ten.
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "error_cb": self._on_error,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._poll, name="ingest-producer", daemon=True)
        self._thread.start()

    async def send(self, records: list[Record]) -> dict[int, Failure]:
        """Return, when the broker has answered for all `records`, the failures by their place.

        Waits for the delivery time-out at most. Records of one key keep their order. If the caller
        is cancelled, what it sent is still delivered. `records` are the producer's from now on.
        """
        if not records:
            return {}
        countdown = _Countdown(len(records), self._loop.create_future(), self._complete.append)
        messages = cast(list[dict[str, Any]], records)
        accepted = self._kafka.produce_batch(self._topic, messages, on_delivery=countdown)
        self.unacknowledged += accepted
        failures: dict[int, Failure] = {}
        if accepted < len(records):
            # What is refused at once is not an exception but a mark, and has no callback.
            for place, message in enumerate(messages):
                if "_error" in message:
                    failures[place] = _failure(cast(KafkaError, message["_error"]))
            countdown.expected = accepted
            if countdown.reported == accepted:
                self._finish(countdown)
        await countdown.future
        if countdown.failed:
            # Equal values have equal keys, so they went to one partition: what holds for one of
            # them may hold for all.
            reasons = {value: _failure(error) for value, error in countdown.failed}
            for place, record in enumerate(records):
                if record["value"] in reasons:
                    failures.setdefault(place, reasons[record["value"]])
        return failures

    async def is_ready(self) -> bool:
        """Tell whether the broker answers and has the topic; takes two seconds at most."""
        if self._closing or self._fatal:
            return False
        try:
            metadata = await asyncio.to_thread(
                self._kafka.list_topics, self._topic, _READY_TIMEOUT_S
            )
        except KafkaException:
            return False
        return metadata.topics[self._topic].error is None

    async def close(self) -> None:
        """Wait until all that was sent is answered for, then end the thread and the connections."""
        self._closing = True
        await asyncio.to_thread(self._thread.join)

    def _poll(self) -> None:
        try:
            while len(self._kafka) or not self._closing:
                self._kafka.poll(_POLL_S)
                if self._complete:
                    complete = self._complete.copy()
                    self._complete.clear()
                    self._loop.call_soon_threadsafe(self._finish_all, complete)
        except Exception as error:  # noqa: BLE001  # the process ends with it, see on_fatal
            self._fail(repr(error))

    def _finish_all(self, countdowns: Iterable[_Countdown]) -> None:
        for countdown in countdowns:
            self._finish(countdown)

    def _finish(self, countdown: _Countdown) -> None:
        if countdown.finished:
            return
        countdown.finished = True
        self.unacknowledged -= countdown.expected
        if not countdown.future.done():  # done: its request was cancelled meanwhile
            countdown.future.set_result(None)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fail(error.str())

    def _fail(self, reason: str) -> None:
        if not self._fatal:
            self._fatal = reason
            self._loop.call_soon_threadsafe(self._on_fatal, reason)


# The key, the headers of a record and of its batch, generously.
_RECORD_OVERHEAD: Final = 4_096


def _failure(error: KafkaError) -> Failure:
    if error.code() in _TOO_LARGE:
        return Failure(f"the broker does not take a record of this size: {error.str()}", True)
    return Failure(f"not acknowledged: {error.str()}", False)


_TOO_LARGE: Final[frozenset[Any]] = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}
)
