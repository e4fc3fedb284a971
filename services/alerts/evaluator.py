"""Evaluates alerts, each at most once a step, and writes states and incidents in one transaction.

One thread owns the states of the partitions that are ours. Alerts are measured on the event loop,
several beside each other; what was measured is decided and committed in the thread. An incident is
in the transaction of the state that opened it, and that has the generation of the group: so it is
written once, through kills and rebalances.
"""

import asyncio
import queue
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage

from schemas.alerts import (
    AlertDefinition,
    AlertState,
    PredictionMeasure,
    SegmentMeasure,
    decode,
    decode_state,
    encode_state,
)
from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.follower import Partition
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.alerts.decide import (
    IncidentChange,
    Observation,
    begin,
    decide,
    end,
    is_ahead,
    is_of,
)
from services.alerts.observe import Ask, Measured, NotMeasured, measure
from services.alerts.texts import incident_record
from services.notifier.definitions import Key, NotifierDefinitions
from services.notifier.loops import KafkaLoop
from services.notifier.member import GroupMember, Record, read_partitions
from services.notifier.telemetry import EVALUATED

if TYPE_CHECKING:
    from concurrent.futures import Future

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.1
_MAX_MEASURED: Final = 8


class Seen(NamedTuple):
    """What was measured for a step of an alert."""

    step: int
    seen: Observation


class _Done(NamedTuple):
    key: Key
    generation: int
    definition: AlertDefinition
    seen: Seen | None


class Evaluator(KafkaLoop):
    """Evaluates the alerts of the partitions that are ours; `loop` runs what asks."""

    def __init__(
        self,
        settings: Settings,
        registry: SchemaRegistry,
        loop: asyncio.AbstractEventLoop,
        ask: Ask,
    ) -> None:
        super().__init__("evaluator")
        self._settings = settings
        self._registry = registry
        self._loop = loop
        self._ask = ask
        self._topic = settings.topics.alert_state.name
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._encoder: Encoder | None = None
        self._generation = 0
        self._forget()

    def _forget(self) -> None:
        self._generation += 1
        self._states: dict[Key, AlertState] = {}
        self._numbers: set[int] = set()  # of the partitions that are ours
        self._asked: dict[Key, int] = {}  # the step that is being measured
        self._asked_at: dict[Key, float] = {}
        self._waits: dict[Key, int] = {}  # the step at which it was not complete yet
        self._records: list[Record] = []

    def serve(self) -> None:
        """Evaluate until `stopped`."""
        self._forget()
        definitions = NotifierDefinitions(self._settings, AlertDefinition.KIND, decode)
        member = GroupMember(self._settings, "alerts", [self._topic], self._restore, self._drop)
        try:
            with member:
                definitions.reach(member.end_of(definitions.partition))
                while not self.stopped.is_set():
                    member.poll(_POLL_S)  # what it returns are states that we have written
                    self.ready = bool(member.partitions)
                    definitions.refresh()
                    self._end_deleted(definitions)
                    self._decide(definitions)
                    self._commit(member)
                    self._measure(definitions)
        finally:
            definitions.close()

    # ── state ────────────────────────────────────────────────────────────────────────────────────

    def _restore(self, committed: dict[Partition, int | None]) -> dict[Partition, int]:
        """Read the states of partitions that are ours now."""

        def take(message: KafkaMessage) -> bool:
            value = message.value()
            try:
                project, name = (message.key() or b"").decode().split("/")
                if value is None:
                    self._states.pop((project, name), None)
                else:
                    self._states[project, name] = decode_state(value)
            except (ValueError, msgspec.DecodeError) as error:
                log.error("alert_state_unreadable", key=message.key(), reason=str(error))
            return True

        ends = read_partitions(self._settings, dict.fromkeys(committed, 0), take)
        self._numbers |= {one.number for one in committed}
        return ends

    def _drop(self, lost: Sequence[Partition]) -> None:
        self._numbers -= {one.number for one in lost}
        for key in [key for key in self._states if self._number_of(key) not in self._numbers]:
            del self._states[key]

    def _number_of(self, key: Key) -> int:
        return zlib.crc32(_record_key(key)) % self._settings.partitions

    def _is_ours(self, key: Key) -> bool:
        return self._number_of(key) in self._numbers

    # ── measuring ────────────────────────────────────────────────────────────────────────────────

    def _measure(self, definitions: NotifierDefinitions[AlertDefinition]) -> None:
        """Begin to measure the alerts whose step has come: those first that were longest ago.

        No project has more than half of the places, so that slow queries of one delay no other.
        """
        now_s = int(time.time())
        asked = Counter(project for project, _ in self._asked)
        due = sorted(self._due(definitions, now_s), key=lambda key: self._asked_at.get(key, 0.0))
        for key in due:
            if len(self._asked) >= _MAX_MEASURED:
                return
            if asked[key[0]] >= _MAX_MEASURED // 2:
                continue
            definition = definitions.all[key]
            asked[key[0]] += 1
            self._asked[key] = step = now_s // definition.alert.every_s
            self._asked_at[key] = time.monotonic()
            asking = asyncio.run_coroutine_threadsafe(
                observe(self._ask, definition, self._state_of(key, definition, now_s), step),
                self._loop,
            )
            asking.add_done_callback(partial(self._report, key, definition, self._generation))

    def _due(self, definitions: NotifierDefinitions[AlertDefinition], now_s: int) -> Iterator[Key]:
        for key, definition in definitions.all.items():
            if key in self._asked or not self._is_ours(key) or not definition.alert.active:
                continue
            step = now_s // definition.alert.every_s
            waits = self._waits.get(key, -1)
            if step > self._state_of(key, definition, now_s).step and step != waits:
                yield key

    def _state_of(self, key: Key, definition: AlertDefinition, now_s: int) -> AlertState:
        """Return the state of an alert; for one that does not go on, one before its first step."""
        state = self._states.get(key)
        goes_on = state is not None and is_of(state, definition) and not is_ahead(state, now_s)
        return state if state is not None and goes_on else begin(definition)

    def _report(
        self,
        key: Key,
        definition: AlertDefinition,
        generation: int,
        done: "Future[Seen | None]",
    ) -> None:
        seen: Seen | None = None
        if not done.cancelled():
            failure = done.exception()
            if failure is not None:
                log.error("alert_not_measured", alert=key, reason=repr(failure))
                reason = f"a defect of the notifier: {type(failure).__name__}"
                step = int(time.time()) // definition.alert.every_s
                seen = Seen(step, Observation(error=reason))
            else:
                seen = done.result()
        self._done.put(_Done(key, generation, definition, seen))

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────

    def _decide(self, definitions: NotifierDefinitions[AlertDefinition]) -> None:
        while True:
            try:
                done = self._done.get_nowait()
            except queue.Empty:
                return
            if done.generation != self._generation:
                continue
            asked = self._asked.pop(done.key, -1)
            if done.seen is None:  # its step is not complete yet
                self._waits[done.key] = asked
                continue
            definition = definitions.find(done.key)
            if definition is None or not self._is_ours(done.key):
                continue
            if definition.revision != done.definition.revision:
                continue  # it has changed meanwhile: the step is measured again
            self._take(done.key, definition, done.seen)

    def _take(self, key: Key, definition: AlertDefinition, seen: Seen) -> None:
        before = self._states.get(key)
        if before is not None and not is_of(before, definition):
            self._write_changes(key, definition, end(before, before.step + 1), before)
            before = None
        elif before is not None and is_ahead(before, int(time.time())):
            log.warning("alert_begins_again", alert=key, reason="its last step is yet to come")
            self._write_changes(key, definition, end(before, seen.step), before)
            before = None
        before = before or begin(definition)
        after, changes = decide(definition.alert, before, seen.seen, seen.step)
        if after == before:
            return
        EVALUATED.labels(after.data).inc()
        self._states[key] = after
        self._write_changes(key, definition, changes, after)
        self._write_state(key, after)

    def _end_deleted(self, definitions: NotifierDefinitions[AlertDefinition]) -> None:
        """Close the incidents of alerts that were deleted or paused, and forget their states."""
        for key, state in list(self._states.items()):
            definition = definitions.find(key)
            ended = definition is None or not definition.alert.active
            if ended and self._is_ours(key):
                del self._states[key]
                self._write_changes(key, definition, end(state, state.step + 1), state)
                self._write_state(key, None)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _write_state(self, key: Key, state: AlertState | None) -> None:
        value = None if state is None else encode_state(state)
        self._records.append(Record(self._topic, _record_key(key), value, self._number_of(key)))

    def _write_changes(
        self,
        key: Key,
        definition: AlertDefinition | None,
        changes: Sequence[IncidentChange],
        state: AlertState,
    ) -> None:
        if not changes:
            return
        topic = self._settings.topics.incidents.name
        rows: list[dict[str, Any]] = [
            incident_record(key, definition, change, state) for change in changes
        ]
        for value in self._open_encoder().encode_records(rows):
            self._records.append(Record(topic, _record_key(key), value, self._number_of(key)))

    def _open_encoder(self) -> Encoder:
        if self._encoder is None:
            schema = load("incident")
            subject = value_subject(self._settings.topics.incidents.name)
            self._encoder = Encoder(schema, self._registry.register(subject, schema))
        return self._encoder

    def _commit(self, member: GroupMember) -> None:
        if not self._records:
            return
        offsets = {one: member.position(one) for one in member.partitions}
        member.commit(self._records, offsets)
        self._records.clear()


async def observe(
    ask: Ask, definition: AlertDefinition, state: AlertState, step: int
) -> Seen | None:
    """Measure an alert for a step, or for the last complete one; None if that is no new one."""
    alert = definition.alert
    every_s = alert.every_s
    try:
        measured = await measure(ask, definition, step * every_s, state.total)
        until_s = measured.complete_until_s
        if alert.wait_complete and (until_s is None or until_s < step * every_s):
            step = -1 if until_s is None else int(until_s // every_s)
            if step <= state.step:
                return None
            measured = await measure(ask, definition, step * every_s, state.total)
        return Seen(step, await _with_recheck(ask, definition, state, measured))
    except NotMeasured as error:
        return Seen(step, Observation(error=str(error)))


async def _with_recheck(
    ask: Ask, definition: AlertDefinition, state: AlertState, measured: Measured
) -> Observation:
    """Measure the step that opened an incident once more, when all events of it are there."""
    alert, until_s = definition.alert, measured.complete_until_s
    if (
        state.opened is None
        or state.checked
        or alert.wait_complete
        or until_s is None
        or until_s < state.opened * alert.every_s
        or isinstance(alert.measure, SegmentMeasure | PredictionMeasure)
        or not is_of(state, definition)
    ):
        return measured.seen
    again = await measure(ask, definition, state.opened * alert.every_s, None)
    return measured.seen._replace(rechecked=again.seen)


def _record_key(key: Key) -> bytes:
    return f"{key[0]}/{key[1]}".encode()
