"""The end of the event store, for those who watch it live; nothing is read while nobody does.

One thread a process reads the whole topic, since it has the events of all projects, at some 2 µs an
event. Only the events to show are decoded: at most `MAX_EVENTS_PER_S` of each project that somebody
watches, picked evenly.
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
from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import AvilaError

log = structlog.get_logger(__name__)

MAX_EVENTS_PER_S: Final = 100

_MAX_BATCH: Final = 10_000
_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 3.0
_RETRY_S: Final = 0.5
_JSON: Final = ("properties", "context")


class Seen(NamedTuple):
    """Events of a project: how many there were, and some of them as JSON, in their order."""

    total: int
    events: list[bytes]


Take = Callable[[Seen], None]


class Tail:
    """Gives new events on `topic` to those who watch; for one loop.

    Only the thread uses `codec`; events that it cannot decode are logged and not shown.
    """

    def __init__(self, cluster: Address, topic: str, codec: Codec) -> None:
        self._cluster = cluster
        self._topic = topic
        self._codec = codec
        self._watchers: defaultdict[str, set[Take]] = defaultdict(set)
        self._reading: _Reading | None = None
        self._threads: set[threading.Thread] = set()

    async def watch(self, project_id: str, take: Take) -> None:
        """Call `take` in the loop with the new events of a project.

        Returns once every event that is committed later will be seen; waits for the broker until
        then.
        """
        self._watchers[project_id].add(take)
        if self._reading is None:
            self._reading = self._start()
        self._reading.projects = frozenset(self._watchers)
        await self._reading.begun.wait()

    def leave(self, project_id: str, take: Take) -> None:
        """Stop calling `take`; reading ends when nobody watches."""
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
                    log.exception("live_events_failed")
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
            client_config(
                self._cluster,
                {
                    "group.id": "avila-tail",  # librdkafka asks for a name, although none joins
                    "isolation.level": "read_committed",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "latest",
                    "reconnect.backoff.max.ms": 1_000,
                    "queued.max.messages.kbytes": 16_384,
                    **CONSUMER_DEFAULTS,
                    "log_level": 0,
                },
            )
        )
        try:
            while not _assign(consumer, self._topic):
                if reading.stopped.wait(_RETRY_S):
                    return
            hand_over({})
            allowance = _Allowance()
            while not reading.stopped.is_set():
                messages = consumer.consume(_MAX_BATCH, _POLL_S)
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
            log.warning("live_events_unreadable", reason=str(error))
            return []
        return [_show(row) for row in batch.to_pylist()]


class _Reading:
    """One run of the thread: the loop replaces `projects`, and the thread reads it."""

    def __init__(self) -> None:
        self.projects: Collection[str] = frozenset()
        self.stopped = threading.Event()
        self.begun = asyncio.Event()


class _Allowance:
    """How many events of each project may still be shown: a token bucket of one second."""

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
    """Start reading at the present end; false if the broker does not answer."""
    try:
        partitions = consumer.list_topics(topic, _TIMEOUT_S).topics[topic].partitions
        ends = [TopicPartition(topic, number) for number in partitions]
        for end in ends:
            end.offset = consumer.get_watermark_offsets(end, _TIMEOUT_S)[1]
    except KafkaException as failure:
        log.warning("live_events_waiting", reason=failure.args[0].str())
        return False
    consumer.assign(ends)
    return bool(ends)


def _by_project(messages: list[Message], projects: Collection[str]) -> dict[str, list[bytes]]:
    """Group the events of `projects` by project, with which their keys, `project:person`, begin."""
    names = {project_id.encode(): project_id for project_id in projects}
    by_project: dict[str, list[bytes]] = {}
    for message in messages:
        if message.error() is not None:  # transient: the library recovers by itself
            continue
        project_id = names.get((message.key() or b"").partition(b":")[0])
        value = message.value()
        if project_id is not None and value is not None:
            by_project.setdefault(project_id, []).append(value)
    return by_project


def _show(row: dict[str, Any]) -> bytes:
    shown = row | {name: _json(row[name]) for name in _JSON}
    del shown["project_id"]
    return msgspec.json.encode(shown)


def _json(text: str) -> msgspec.Raw | str:
    """Return JSON as it is, and other text as text: events that came by Kafka are unchecked."""
    try:
        return _read_json(text)
    except (msgspec.DecodeError, RecursionError):
        return text


_read_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
