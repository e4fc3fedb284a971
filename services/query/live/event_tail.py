"""The end of the event store, for those who look at it live; nothing is read while nobody does.

One thread reads for all of a process: the whole topic, as events of all projects stand on it, at
some 2 µs an event. Only what is shown is decoded: of each project that is looked at, at most
`MAX_EVENTS_PER_S`, picked evenly.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.avro.codec import Codec
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import AvilaError

log = structlog.get_logger(__name__)

MAX_EVENTS_PER_S: Final = 100

_AT_ONCE: Final = 10_000
_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 3.0
_RETRY_S: Final = 0.5
_JSON: Final = ("properties", "context")


class Seen(NamedTuple):
    """What came for a project: how many events, and some of them as JSON, in their order."""

    came: int
    events: list[bytes]


Take = Callable[[Seen], None]


class Tail:
    """Gives what comes on `topic` to those who watch; for one loop.

    `codec` is used by the thread alone; what it raises is logged, and the events are not shown.
    """

    def __init__(self, bootstrap: str, topic: str, codec: Codec) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._codec = codec
        self._watchers: defaultdict[str, set[Take]] = defaultdict(set)
        self._reading: _Reading | None = None
        self._threads: set[threading.Thread] = set()

    async def watch(self, project_id: str, take: Take) -> None:
        """Call `take` in the loop with what comes for a project from now on.

        Returns as soon as all that is committed later will be seen; waits for the broker till then.
        """
        self._watchers[project_id].add(take)
        if self._reading is None:
            self._reading = self._start()
        self._reading.projects = frozenset(self._watchers)
        await self._reading.begun.wait()

    def leave(self, project_id: str, take: Take) -> None:
        """Call `take` no more; reading ends when nobody watches."""
        self._watchers[project_id].discard(take)
        if not self._watchers[project_id]:
            del self._watchers[project_id]
        if self._reading is None:
            return
        self._reading.projects = frozenset(self._watchers)
        if not self._watchers:
            self._reading.stopped.set()
            self._reading = None

    async def stop(self) -> None:
        """End the threads."""
        if self._reading is not None:
            self._reading.stopped.set()
        for thread in tuple(self._threads):
            await asyncio.to_thread(thread.join)

    def _start(self) -> "_Reading":
        reading = _Reading()
        loop = asyncio.get_running_loop()

        def hand_over(seen: Mapping[str, Seen]) -> None:
            loop.call_soon_threadsafe(self._take, reading, seen)

        def run() -> None:
            while not reading.stopped.is_set():
                try:
                    self._read(reading, hand_over)
                except Exception:
                    log.exception("live events begin anew")
                    reading.stopped.wait(_RETRY_S)
            loop.call_soon_threadsafe(self._threads.discard, thread)

        thread = threading.Thread(target=run, name="tail", daemon=True)
        self._threads.add(thread)
        thread.start()
        return reading

    def _take(self, reading: "_Reading", seen: Mapping[str, Seen]) -> None:
        if reading is not self._reading:
            return
        reading.begun.set()
        for project_id, one in seen.items():
            for take in tuple(self._watchers.get(project_id, ())):
                take(one)

    def _read(self, reading: "_Reading", hand_over: Callable[[Mapping[str, Seen]], None]) -> None:
        """Read until stopped; in the thread."""
        consumer: Consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "avila-tail",  # librdkafka asks for a name, although none joins
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "reconnect.backoff.max.ms": 1_000,
                "queued.max.messages.kbytes": 16_384,
                **CONSUMER_DEFAULTS,
                "log_level": 0,
            }
        )
        try:
            while not _assign(consumer, self._topic):
                if reading.stopped.wait(_RETRY_S):
                    return
            hand_over({})
            allowance = _Allowance()
            while not reading.stopped.is_set():
                messages = consumer.consume(_AT_ONCE, _POLL_S)
                found = _by_project(messages, reading.projects)
                picked = {
                    project_id: evenly(values, allowance.take(project_id, len(values)))
                    for project_id, values in found.items()
                }
                if found:
                    hand_over(
                        {
                            project_id: Seen(len(found[project_id]), self._decode(values))
                            for project_id, values in picked.items()
                        }
                    )
        finally:
            consumer.close()

    def _decode(self, values: list[bytes]) -> list[bytes]:
        try:
            batch = self._codec.decode(values).batch
        except AvilaError as error:
            log.warning("live events not shown", reason=str(error))
            return []
        return [_show(row) for row in batch.to_pylist()]


class _Reading:
    """One run of the thread; the loop writes `projects`, anew each time, and the thread reads."""

    def __init__(self) -> None:
        self.projects: Collection[str] = frozenset()
        self.stopped = threading.Event()
        self.begun = asyncio.Event()


class _Allowance:
    """What may still be shown of each project: a bucket that holds a second's."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, project_id: str, wanted: int) -> int:
        now = time.monotonic()
        left, then = self._left.get(project_id, (MAX_EVENTS_PER_S, now))
        left = min(MAX_EVENTS_PER_S, left + (now - then) * MAX_EVENTS_PER_S)
        taken = min(wanted, int(left))
        self._left[project_id] = left - taken, now
        return taken


def evenly(values: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the values, or all if there are no more, evenly spaced in their order."""
    most = len(values)
    return [values[place * most // count] for place in range(count)] if count < most else [*values]


def _assign(consumer: Consumer, topic: str) -> bool:
    """Stand at the end as it is now; false if the broker does not say where that is."""
    try:
        partitions = consumer.list_topics(topic, _TIMEOUT_S).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, _TIMEOUT_S)[1]
    except KafkaException as failure:
        log.warning("live events wait", reason=failure.args[0].str())
        return False
    consumer.assign(places)
    return bool(places)


def _by_project(messages: list[Message], projects: Collection[str]) -> dict[str, list[bytes]]:
    """Sort the events of `projects` by what their keys, `project:person`, begin with."""
    names = {project_id.encode(): project_id for project_id in projects}
    found: dict[str, list[bytes]] = {}
    for message in messages:
        if message.error() is not None:  # passing ones: the library goes on by itself
            continue
        project_id = names.get((message.key() or b"").partition(b":")[0])
        value = message.value()
        if project_id is not None and value is not None:
            found.setdefault(project_id, []).append(value)
    return found


def _show(row: dict[str, Any]) -> bytes:
    shown = row | {name: _json(row[name]) for name in _JSON}
    del shown["project_id"]
    return msgspec.json.encode(shown)


def _json(text: str) -> msgspec.Raw | str:
    """JSON as it is, and as text what is none: nobody checks the context of what came by Kafka."""
    try:
        return _read_json(text)
    except (msgspec.DecodeError, RecursionError):
        return text


_read_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
