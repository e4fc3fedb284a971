"""One partition of the event store: its persons, and every definition that it evaluates.

A batch of matched events enters `Partition.process` once, for the definitions that a `Pass` names,
and what it changes is returned once:

    intern persons ─▶ OperatorInstance.process, definition by definition ─▶ PartitionChanges
                      (PersonState.fold, Aggregates.apply)

A definition that is new first catches up with history (`Backfill`): events of the past are
processed for it alone, between the batches of the others. As soon as it has reached the partition's
position, it is live like them.

The changelog is written from here (`pipelines.engine.changelog`): a row some seconds after it was
touched, so that a person who does ten things in that time is logged once. Until then the event
store is its log: events from `recovery_offset` on are processed again after a crash, and each
logged row says up to which offset it holds events.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.columnar.key_index import KeyIndex
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.events import MatchedEvents, OffsetRange
from pipelines.engine.instance import AnyInstance, Backfill, PersonEvents
from pipelines.engine.operator import ChangeRecords
from pipelines.engine.parallel import in_parallel
from pipelines.matching.match import Key, Match

# Rows that may expire in one call. The next call does the rest, so that no commit takes long when
# many timers are due at the same time.
_EXPIRED_BATCH: Final = 20_000
_ALL_OFFSETS: Final = OffsetRange(0, 2**62)


class Pass(Enum):
    """For which definitions a batch is processed, and whether its results are published already."""

    LIVE = "events as they come, for the definitions that are live"
    BACKFILL = "events of the past, for the definitions that have come to them"
    REPLAY_LIVE = "events that were processed before a restart, for the definitions that are live"
    REPLAY_BACKFILL = "the same, for the others"

    @property
    def replay(self) -> bool:
        """Whether the results are counted and published already."""
        return self in {Pass.REPLAY_LIVE, Pass.REPLAY_BACKFILL}


class PartitionChanges(NamedTuple):
    """What a batch, or the passing of time, changed: changes and timeouts of each definition.

    They are views, good until the partition is called again.
    """

    changes: list[tuple[AnyInstance, Any]]  # of the type of the instance's operator
    timeouts: list[tuple[AnyInstance, ChangeRecords]]


def _no_clock(_: str) -> int:
    return NEVER


class Partition:
    """The state of one partition, in memory only. It knows no topic, and callers pass the time.

    `elsewhere` returns the offset of a project's clock by the events of all partitions, as far as
    they are known; NEVER without any.

    Attributes:
        position: live definitions hold the events below this offset.
        persons: the index of persons, by project and id.
        instances: the definitions.
        clock_offsets: how far each project's newest event in this partition was ahead of the
            broker's clock when it was stored (ms): 0 or less. The greatest offset of all partitions
            (`clock_offset_of`), added to the time of day, is the project's own time, which goes on
            without events.
        scores_position: the offset of `avila.predictions` below which the definitions that ask for
            scores hold them; None if there is no such definition.
    """

    def __init__(self, elsewhere: Callable[[str], int] = _no_clock) -> None:
        self.position = 0
        self.persons = KeyIndex()
        self.instances: dict[Key, AnyInstance] = {}
        self.clock_offsets: dict[str, int] = {}
        self.scores_position: int | None = None
        self._elsewhere = elsewhere
        self._risen: set[str] = set()  # the projects whose own offset has risen
        self._expire_first: Key | None = None  # the first key that the last call left out

    @property
    def recovery_offset(self) -> int:
        """The first event that may be missing from what is logged of live definitions."""
        live = (instance for instance in self.instances.values() if instance.backfill is None)
        offsets = (instance.recovery_offset(self.position) for instance in live)
        return min(offsets, default=self.position)

    @property
    def backfilling(self) -> dict[Key, Backfill]:
        """The definitions that are catching up with history, and how far they are."""
        return {
            key: instance.backfill
            for key, instance in self.instances.items()
            if instance.backfill is not None and instance.backfilling
        }

    @property
    def history_clock(self) -> int:
        """The least clock (ms) of the definitions whose history is merged over partitions.

        NEVER if one of them has seen no event yet, or if there are none.
        """
        clocks = (
            self.instances[key].state.clock
            for key in self.backfilling
            if self.instances[key].merges_history
        )
        return min((NEVER if clock is None else clock for clock in clocks), default=NEVER)

    @property
    def behind(self) -> dict[str, list[AnyInstance]]:
        """The live definitions that a recount would change, by project."""
        behind: dict[str, list[AnyInstance]] = {}
        for key, instance in self.instances.items():
            if instance.behind and instance.live:
                behind.setdefault(key.project, []).append(instance)
        return behind

    def position_of(self, instance: AnyInstance) -> int:
        """Return the offset below which a definition holds the partition's events."""
        return self.position if instance.backfill is None else instance.backfill.at

    @property
    def rows(self) -> int:
        """Number of rows of persons, of all definitions."""
        return sum(instance.state.size for instance in list(self.instances.values()))

    @property
    def nbytes(self) -> int:
        """Memory held in bytes by rows and by the names of persons."""
        states = [instance.state.nbytes for instance in list(self.instances.values())]
        return self.persons.nbytes + sum(states)

    # ── a batch of events ────────────────────────────────────────────────────────────────────────

    def process(self, batch: MatchedEvents, run: Pass, due: int) -> PartitionChanges:
        """Process a batch for the definitions that `run` names, and return what it changes.

        Rows that are touched wait to be logged until `due` (ms). A definition that raises fails;
        the others continue.
        """
        ranges = self._ranges(batch.events.range, run)
        for key in batch.failures.keys() & ranges.keys():
            self.instances[key].fail(batch.failures[key])
            del ranges[key]
        matches = {key: match for key, match in batch.matches.items() if key in ranges}
        events = self._person_events(batch, matches)

        def process_one(key: Key) -> tuple[AnyInstance, Any]:
            instance = self.instances[key]
            changes = instance.process(events, matches[key], ranges[key], due, replay=run.replay)
            return instance, changes

        processed = list(in_parallel(process_one, matches, len(batch.events.at)))
        self._advance(batch, run, ranges)
        return PartitionChanges([pair for pair in processed if pair[1] is not None], [])

    def _ranges(self, batch: OffsetRange, run: Pass) -> dict[Key, OffsetRange]:
        """Return the definitions that a batch is for, and which of its offsets each takes."""
        match run:
            case Pass.LIVE | Pass.REPLAY_LIVE:
                live = (key for key, instance in self.instances.items() if instance.live)
                return dict.fromkeys(live, _ALL_OFFSETS)
            case Pass.BACKFILL:
                return {
                    key: OffsetRange(backfill.at, batch.end)
                    for key, backfill in self.backfilling.items()
                    if batch.begin <= backfill.at < batch.end
                }
            case Pass.REPLAY_BACKFILL:
                return {
                    key: OffsetRange(0, backfill.at) for key, backfill in self.backfilling.items()
                }

    def _person_events(self, batch: MatchedEvents, matches: Mapping[Key, Match]) -> PersonEvents:
        """Intern the persons of the events that definitions with rows of persons select."""
        events = batch.events
        matched = np.zeros(len(events.at), np.bool_)
        for key, match in matches.items():
            if self.instances[key].state.by_person:
                matched[match.rows] = True
        rows = np.flatnonzero(matched)
        slots = np.zeros(len(events.at), np.int32)
        slots[rows] = self.persons.intern(events.projects, events.persons, rows)
        return PersonEvents(
            len(self.persons), slots, events.at, events.offsets, events.record_times
        )

    def _advance(self, batch: MatchedEvents, run: Pass, keys: Iterable[Key]) -> None:
        """Advance positions to the end of the batch, and clocks to the times of its events."""
        match run:
            case Pass.LIVE | Pass.REPLAY_LIVE:
                self.position = batch.events.range.end
                for project, offset_ms in batch.clock_offsets.items():
                    self.advance_event_clock(project, offset_ms)
            case Pass.BACKFILL:
                backfilling = self.backfilling
                for key in keys:
                    if key in backfilling:
                        self._advance_backfill(self.instances[key], backfilling[key], batch)
            case Pass.REPLAY_BACKFILL:
                pass

    @staticmethod
    def _advance_backfill(instance: AnyInstance, backfill: Backfill, batch: MatchedEvents) -> None:
        offset_ms = batch.clock_offsets.get(instance.key.project, NEVER)
        backfill.at = batch.events.range.end
        backfill.clock_offset = max(backfill.clock_offset, min(offset_ms, 0))
        instance.unpublished.add(TOTAL)

    def promote(self, reached: int) -> list[Key]:
        """Make live the definitions whose backfill has reached the partition's position.

        `reached` is an offset with no event between it and that position. Returns their keys.
        """
        done = {key: own for key, own in self.backfilling.items() if own.at >= reached}
        for key, backfill in done.items():
            instance = self.instances[key]
            instance.backfill = None
            instance.settling = instance.behind > 0
            instance.live_since = None if instance.settling else self.position
            instance.unpublished.add(TOTAL)
            self.advance_event_clock(key.project, backfill.clock_offset)
        return list(done)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    def advance_event_clock(self, project: str, offset_ms: int) -> None:
        """Advance a project's time, given how far an event is ahead of its record.

        An event that is dated ahead of the time of day advances it to the time of day.
        """
        offset_ms = min(offset_ms, 0)
        if offset_ms > self.clock_offsets.get(project, NEVER):
            self.clock_offsets[project] = offset_ms
            self._risen.add(project)

    def take_risen(self) -> list[str]:
        """Return the projects whose offset in this partition has risen since the last call."""
        risen = [project for project in sorted(self._risen) if project in self.clock_offsets]
        self._risen.clear()
        return risen

    def clock_offset_of(self, project: str) -> int:
        """Return how far a project's time is ahead of the time of day: 0 or less, or NEVER."""
        return max(self.clock_offsets.get(project, NEVER), self._elsewhere(project))

    def expire(self, now_ms: int) -> PartitionChanges:
        """Let time pass up to the broker's `now_ms` for the live definitions.

        No event would bring these changes back, so the next commit logs their rows.
        """
        live = (key for key, instance in self.instances.items() if instance.live)
        offsets = {key: self.clock_offset_of(key.project) for key in live}
        return self._expire(
            {key: now_ms + offset for key, offset in offsets.items() if offset != NEVER}
        )

    @property
    def awaits_time(self) -> bool:
        """Whether a live definition needs to know that time passes without events."""
        return any(one.live and one.awaits_time for one in self.instances.values())

    def read_to(self, now_ms: int) -> PartitionChanges:
        """Note that all events that were acknowledged before `now_ms`, a time of day, are folded.

        A project's time is as far behind it as the newest of the partition's own events was. Other
        partitions do not count: one that is ahead with an import says nothing of this one.
        """
        changes = []
        for key, instance in self.instances.items():
            offset_ms = self.clock_offsets.get(key.project, NEVER)
            if instance.live and instance.awaits_time and offset_ms != NEVER:
                with instance.failing_alone():
                    changed = instance.read_to(now_ms + offset_ms)
                    if changed is not None:
                        changes.append((instance, changed))
        return PartitionChanges(changes, [])

    def expire_backfill(self, now_ms: int) -> PartitionChanges:
        """Let time pass up to `now_ms` of the past for the definitions that are catching up."""
        return self._expire(
            {
                key: now_ms + backfill.clock_offset
                for key, backfill in self.backfilling.items()
                if backfill.clock_offset != NEVER
            }
        )

    def _expire(self, clocks: Mapping[Key, int]) -> PartitionChanges:
        changes, timeouts, rows = [], [], 0
        for key in self._in_turn(list(clocks)):
            if rows >= _EXPIRED_BATCH:
                self._expire_first = key
                break
            instance = self.instances[key]
            expired = instance.expire(clocks[key])
            if expired is not None:
                rows += len(expired.rows)
                if expired.changes is not None:
                    changes.append((instance, expired.changes))
                if expired.timeouts is not None:
                    timeouts.append((instance, expired.timeouts))
        return PartitionChanges(changes, timeouts)

    def _in_turn(self, keys: list[Key]) -> Iterator[Key]:
        """Yield the keys, beginning with the one that the last call left out."""
        first, self._expire_first = self._expire_first, None
        begin = keys.index(first) if first in keys else 0
        yield from keys[begin:]
        yield from keys[:begin]

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restored(self, committed: int, clocks: Mapping[Key, int]) -> None:
        """End restoring: all events below offset `committed` are in the state.

        `clocks` are the clocks of the definitions that have one of their own.
        """
        self.position = committed
        for key, instance in self.instances.items():
            with instance.failing_alone():
                instance.state.restored(clocks.get(key))
