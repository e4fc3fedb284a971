"""Sends what waits in `avila.deliveries`, in order a key, and remembers how far it is.

One thread owns all state: it reads the queues, decides what to send, and commits in one transaction
what has been settled, the messages that are dead, and the position. Requests run on the event loop.
A process that is killed sends again, under the same ids, what it had not committed.
"""

import asyncio
import queue
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage

from schemas.follower import Partition
from schemas.notices.delivery import (
    DeliveryState,
    Message,
    Replay,
    decode_queued,
    decode_state,
    encode_dead,
    encode_queued,
    encode_state,
    parse_queue_key,
    queue_key,
)
from schemas.notices.subscription import SubscriptionDefinition, decode
from schemas.settings import Settings
from services.notifier.definitions import Key, NotifierDefinitions
from services.notifier.loops import KafkaLoop
from services.notifier.member import GroupMember, Record, read_partitions
from services.notifier.telemetry import SENT
from services.webhooks.post import Answer
from services.webhooks.queue import SubscriptionQueue
from services.webhooks.replay import find_replayed
from services.webhooks.senders import Sender

if TYPE_CHECKING:
    from concurrent.futures import Future

log = structlog.get_logger(__name__)

_QUIET_POLL_S: Final = 0.2
_BUSY_POLL_S: Final = 0.02
_MAX_SENDING: Final = 200
_SETTLE_TIMEOUT_S: Final = 3.0
_READ_ON_S: Final = 1.0


class _Sent(NamedTuple):
    """A message that was sent, by whichever generation of the queues, and what came of it."""

    key: Key
    offset: int
    generation: int
    answer: Answer


class Deliverer(KafkaLoop):
    """Delivers messages; `loop` runs the requests of `sender`."""

    def __init__(self, settings: Settings, sender: Sender, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("deliverer")
        self._settings = settings
        self._sender, self._loop = sender, loop
        self._topic = settings.topics.deliveries.name
        self._sent: queue.SimpleQueue[_Sent] = queue.SimpleQueue()
        self._generation = 0
        self._sending = 0
        self._forget()

    def _forget(self) -> None:
        """Forget all state; requests that run on are ignored."""
        self._generation += 1
        self._sending = 0
        self._states: dict[Key, DeliveryState] = {}
        self._queues: dict[Key, SubscriptionQueue] = {}
        self._places: dict[Key, int] = {}  # the partition of each
        self._positions: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._restored = False  # states that may be of deleted subscriptions
        self._dirty: set[Key] = set()
        self._records: list[Record] = []

    def serve(self) -> None:
        """Deliver until `stopped`."""
        self._forget()
        definitions = NotifierDefinitions(self._settings, SubscriptionDefinition.KIND, decode)
        member = GroupMember(self._settings, "deliverer", [self._topic], self._restore, self._drop)
        try:
            with member:
                definitions.reach(member.end_of(definitions.partition))
                while not self.stopped.is_set():
                    messages = member.poll(_BUSY_POLL_S if self._is_busy() else _QUIET_POLL_S)
                    self.ready = bool(member.partitions)
                    self._step(member, definitions, messages)
                self._settle(member)
        finally:
            definitions.close()

    def _step(
        self,
        member: GroupMember,
        definitions: NotifierDefinitions[SubscriptionDefinition],
        messages: Sequence[KafkaMessage],
    ) -> None:
        now = _now_ms()
        if definitions.refresh() or self._restored:
            self._restored = False
            self._clear_deleted(definitions)
        if self._are_unknown(messages, definitions):
            definitions.reach(member.end_of(definitions.partition))
        for message in messages:
            self._take(message, definitions)
        self._catch_up(member, definitions)
        self._finish(now)
        self._start(definitions, now)
        self._commit(member)

    def _settle(self, member: GroupMember) -> None:
        """Wait for the requests that run, for some seconds, so that none is sent again."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while self._sending and time.monotonic() < deadline:
            time.sleep(_BUSY_POLL_S)
            self._finish(_now_ms())
        self._commit(member)

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def _restore(self, committed: dict[Partition, int | None]) -> dict[Partition, int]:
        """Read the states of partitions that are ours now."""
        name = self._settings.topics.delivery_state.name

        def take(message: KafkaMessage) -> bool:
            number, value = message.partition(), message.value()
            assert number is not None
            try:
                key = parse_queue_key(message.key() or b"")
                if value is None:
                    self._states.pop(key, None)
                else:
                    self._states[key] = decode_state(value)
                    self._places[key] = number
            except (ValueError, msgspec.DecodeError) as error:
                log.error("delivery_state_unreadable", key=message.key(), reason=str(error))
            return True

        begins = {Partition(name, one.number): 0 for one in committed}
        read_partitions(self._settings, begins, take)
        for key, state in self._states.items():
            if state.low is not None and key not in self._queues:
                self._queues[key] = SubscriptionQueue(state)
        self._restored = True
        self._positions |= {one: at or 0 for one, at in committed.items()}
        return {one: at for one, at in committed.items() if at is not None}

    def _drop(self, lost: Sequence[Partition]) -> None:
        """Forget the states of partitions that are ours no longer."""
        numbers = {one.number for one in lost}
        for key in [key for key, number in self._places.items() if number in numbers]:
            self._forget_key(key)
        for one in lost:
            self._positions.pop(one, None)

    def _forget_key(self, key: Key) -> None:
        self._states.pop(key, None)
        self._queues.pop(key, None)
        self._places.pop(key, None)
        self._dirty.discard(key)

    def _clear_deleted(self, definitions: NotifierDefinitions[SubscriptionDefinition]) -> None:
        """Delete the states of subscriptions that are no more, or are others by now."""
        for key, number in list(self._places.items()):
            definition, state = definitions.find(key), self._states.get(key)
            if definition is None or (state and state.created_at != definition.created_at):
                self._forget_key(key)
                name = self._settings.topics.delivery_state.name
                self._records.append(Record(name, queue_key(*key), None, number))

    def _queue_of(self, key: Key, definition: SubscriptionDefinition) -> SubscriptionQueue:
        found = self._queues.get(key)
        if found is None:
            state = self._states.get(key)
            if state is None or state.created_at != definition.created_at:
                state = DeliveryState(created_at=definition.created_at)
            self._states[key] = state
            found = self._queues[key] = SubscriptionQueue(state)
        return found

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _are_unknown(
        self,
        messages: Sequence[KafkaMessage],
        definitions: NotifierDefinitions[SubscriptionDefinition],
    ) -> bool:
        """Whether some message is for a subscription that is not known: deleted, or very new."""
        keys = {message.key() for message in messages}
        return any(definitions.find(key) is None for key in map(_key_of, keys) if key)

    def _take(
        self,
        record: KafkaMessage,
        definitions: NotifierDefinitions[SubscriptionDefinition],
    ) -> None:
        number, offset = record.partition(), record.offset()
        assert number is not None
        assert offset is not None
        self._positions[Partition(self._topic, number)] = offset + 1
        key, queued = _read(record)
        if key is None or queued is None:
            return
        definition = definitions.find(key)
        if definition is None:
            return
        self._places[key] = number
        if isinstance(queued, Replay):
            self._records += (
                Record(self._topic, queue_key(*key), encode_queued(message), number)
                for message in find_replayed(self._settings, number, key, queued, _now_ms())
            )
            return
        waiting = self._queue_of(key, definition)
        if waiting.resume is None and queued.created_at >= definition.created_at:
            waiting.take(offset, queued)
            self._dirty.add(key)

    def _catch_up(
        self,
        member: GroupMember,
        definitions: NotifierDefinitions[SubscriptionDefinition],
    ) -> None:
        """Read on for one subscription of which more waits than was held, if it has room."""
        for key, waiting in self._queues.items():
            definition = definitions.find(key)
            if waiting.resume is None or not waiting.has_room or definition is None:
                continue
            partition = Partition(self._topic, self._places[key])
            if partition not in member.partitions:
                continue
            self._read_on(key, waiting, definition, partition)
            return

    def _read_on(
        self,
        key: Key,
        waiting: SubscriptionQueue,
        definition: SubscriptionDefinition,
        partition: Partition,
    ) -> None:
        end = self._positions.get(partition, 0)
        begin = waiting.resume or 0
        waiting.resume = None
        deadline = time.monotonic() + _READ_ON_S  # the others have to go on, too

        def take(record: KafkaMessage) -> bool:
            offset = record.offset()
            assert offset is not None
            if offset >= end:
                return False
            if time.monotonic() > deadline:
                waiting.resume = offset
                return False
            of, queued = _read(record)
            if of != key or not isinstance(queued, Message):
                return True
            if queued.created_at < definition.created_at:
                return True
            return waiting.take(offset, queued)

        if begin < end:
            read_partitions(self._settings, {partition: begin}, take)
        self._dirty.add(key)

    # ── sending ──────────────────────────────────────────────────────────────────────────────────

    def _is_busy(self) -> bool:
        if self._sending:
            return True
        now = _now_ms()
        wakes = (one.wakes_at(now) for one in self._queues.values())
        return any(at is not None and at <= now + 1_000 * _QUIET_POLL_S for at in wakes)

    def _start(self, definitions: NotifierDefinitions[SubscriptionDefinition], now: int) -> None:
        for key, waiting in self._queues.items():
            definition = definitions.find(key)
            if definition is None or not definition.subscription.active:
                continue
            waiting.renew(definition.revision, now)
            for dead in waiting.expire(now):
                self._bury(key, encode_dead(dead))
            if self._sending >= _MAX_SENDING:
                continue
            for held in waiting.start(now):
                self._sending += 1
                sending = asyncio.run_coroutine_threadsafe(
                    self._sender.send(definition, held.message), self._loop
                )
                sending.add_done_callback(partial(self._report, key, held.offset, self._generation))

    def _report(self, key: Key, offset: int, generation: int, done: "Future[Answer]") -> None:
        failure = None if done.cancelled() else done.exception()
        if done.cancelled():
            answer = Answer(0, "the notifier has stopped")
        elif failure is not None:
            log.error("sending_failed", subscription=key, reason=repr(failure))
            answer = Answer(0, f"a defect of the notifier: {type(failure).__name__}")
        else:
            answer = done.result()
        SENT.labels("taken" if answer.ok else "refused").inc()
        self._sent.put(_Sent(key, offset, generation, answer))

    def _finish(self, now: int) -> None:
        for sent in self._drain():
            if sent.generation != self._generation:
                continue
            self._sending -= 1
            waiting = self._queues.get(sent.key)
            if waiting is None:
                continue
            self._dirty.add(sent.key)
            dead = waiting.finish(sent.offset, sent.answer, now)
            if dead is not None:
                self._bury(sent.key, encode_dead(dead))

    def _drain(self) -> Iterator[_Sent]:
        while True:
            try:
                yield self._sent.get_nowait()
            except queue.Empty:
                return

    def _bury(self, key: Key, value: bytes) -> None:
        name = self._settings.topics.dead_deliveries.name
        self._dirty.add(key)
        self._records.append(Record(name, queue_key(*key), value, self._places[key]))

    def _commit(self, member: GroupMember) -> None:
        """Commit what has changed since the last commit, if anything has."""
        name = self._settings.topics.delivery_state.name
        states = [
            Record(name, queue_key(*key), encode_state(self._queues[key].snapshot()), number)
            for key in self._dirty
            if (number := self._places.get(key)) is not None and key in self._queues
        ]
        moved = {one: at for one, at in self._positions.items() if self._committed.get(one) != at}
        if not states and not self._records and not moved:
            return
        # Also without a new position, the offsets say whose generation this is.
        member.commit([*self._records, *states], dict(self._positions))
        self._committed = dict(self._positions)
        self._records.clear()
        for key in self._dirty:
            if key in self._queues and self._queues[key].idle:
                del self._queues[key]
        self._dirty.clear()


def _read(record: KafkaMessage) -> tuple[Key | None, Message | Replay | None]:
    """Return the subscription and the content of a record; None of one that cannot be read."""
    key = _key_of(record.key())
    try:
        return key, decode_queued(record.value() or b"")
    except msgspec.DecodeError as error:
        log.error("delivery_unreadable", offset=record.offset(), reason=str(error))
        return key, None


def _key_of(key: bytes | str | None) -> Key | None:
    try:
        return parse_queue_key(key if isinstance(key, bytes) else b"")
    except ValueError:
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
