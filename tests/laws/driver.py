"""A partition of the worker, epoch by epoch, with its topics in memory.

This module alone knows how the worker asks its operators: a change of that contract is made here.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

import numpy as np

from pipelines.columnar.string_column import StringColumn
from pipelines.engine.changelog import PersonChangelog
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.events import Events, MatchedEvents, OffsetRange
from pipelines.engine.instance import AnyInstance, Backfill, key_of
from pipelines.engine.operator import AnyOperator, Packed, PartitionContext
from pipelines.engine.partition import Partition, PartitionChanges, Pass
from pipelines.engine.publishers import Publishers
from pipelines.engine.recount import Recount
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.matching.matcher import Matcher, Selection
from pipelines.operators import OPERATORS
from pipelines.worker.snapshots import Snapshots
from schemas.definitions import Definition
from schemas.operators import BY_NAME
from schemas.settings import read_settings
from tests.events import decode_value
from tests.laws.topics import MemoryRegistry, MemorySnapshots, MemoryTopics, texts
from tests.oracles.events import Event, Json

PROJECT: Final = "shop"
NAME: Final = "it"  # of the definition that a law is about
NOW: Final = 1_800_000_000_000
_SETTINGS: Final = read_settings({})
# Lives begin then: of events within some seconds of `NOW`, some are dated ahead of the time of day.
_LATER_MS: Final = 6_000
_OPERATORS: Final[Mapping[str, AnyOperator]] = {operator.name: operator for operator in OPERATORS}


class Published(NamedTuple):
    """What a partition has published of a definition: newest records, and changes in order."""

    aggregates: list[dict[str, Any]]
    changes: list[dict[str, Any]]


class Recorded(NamedTuple):
    """An event of the event store, and when it was recorded."""

    event: Event
    at: int


def definition_of(kind: str, fields: Json, project: str = PROJECT, name: str = NAME) -> Definition:
    """Return a definition as it is on the definitions topic, with these `fields` of its own."""
    common = {"project_id": project, "id": name, "version": 1, "created_at": 0, "updated_at": 0}
    return BY_NAME[kind].decode(json.dumps({**common, **fields}).encode())


class Life:
    """A partition that takes events in, commits, crashes and goes on; for one definition.

    `checkpoint_ms` is for how long rows may wait to be logged. A life that is `late` defines when
    it is told to, and reads history for it. `elsewhere` returns how far the project's clock is by
    the events of other partitions, as `Partition` asks for it.
    """

    def __init__(
        self,
        definition: Definition,
        lateness_ms: int,
        *,
        checkpoint_ms: int = 0,
        late: bool = False,
        elsewhere: Callable[[str], int] = lambda _: NEVER,
    ) -> None:
        self._elsewhere = elsewhere
        self._definition, self._key = definition, key_of(definition)
        self._operator = _OPERATORS[self._key.operator]
        self._lateness_ms, self._checkpoint_ms = lateness_ms, checkpoint_ms
        self._snapshots = MemorySnapshots()
        self._topics, self._outbox, self._kept = _SETTINGS.topics, Outbox(), MemoryTopics()
        self._publishers = Publishers([self._operator], _SETTINGS, MemoryRegistry(), self._outbox)
        operator = self._operator
        self._matcher = Matcher(
            [Selection(self._key, operator.selectors(definition), operator.reads(definition))]
        )
        self._store: list[Recorded] = []
        self._now = NOW + _LATER_MS
        self._log = self._new_log()
        self._defined = not late
        self._partition = self._empty_partition()

    # ── what happens ─────────────────────────────────────────────────────────────────────────────

    def take(self, events: Sequence[Event], passed_ms: int = 0) -> list[dict[str, Any]]:
        """Take events in after some time, and commit; returns the changes that this announced."""
        self.fold(events, passed_ms)
        return self.commit()

    def fold(self, events: Sequence[Event], passed_ms: int = 0) -> None:
        """Take events in after some time, and commit nothing yet."""
        self._now += passed_ms
        begin = len(self._store)
        self._store += [Recorded(event, self._now) for event in events]
        if events:
            self._process(OffsetRange(begin, len(self._store)), Pass.LIVE)

    def commit(self) -> list[dict[str, Any]]:
        """Let time pass, log and publish; returns the changes of persons that this announced."""
        self._publishers.publish(self._context, self._partition.expire(self._now))
        for instance in self._partition.instances.values():
            assert not instance.failed, instance.failed
        self._log.write_rows(self._partition, self._now)
        self._publishers.publish_aggregates(self._context, self._partition.instances.values())
        self._log.write_meta(self._partition)
        announced: defaultdict[str, list[bytes]] = defaultdict(list)
        for sent in self._outbox.take():
            self._kept.write(sent)
            announced[sent.topic] += filter(None, sent.values.to_pylist())
        return [
            decode_value(of.schema, value)
            for of in self._operator.spec.changes
            for value in announced[of.topic(self._topics).name]
        ]

    def score(self, prediction: str, scores: Mapping[str, float | None]) -> None:
        """Take the newest scores of some persons in, None where one has ended; commit nothing."""
        partition = self._partition
        slots = partition.persons.intern(
            StringColumn.of(texts([PROJECT] * len(scores))),
            StringColumn.of(texts(list(scores))),
            np.arange(len(scores)),
        )
        numbers = np.array([np.nan if one is None else one for one in scores.values()], np.float64)
        for instance in partition.instances.values():
            instance.take_scores(len(partition.persons), prediction, slots, numbers)
        partition.scores_position = (partition.scores_position or 0) + len(scores)

    @property
    def predictions(self) -> frozenset[str]:
        """The predictions whose scores the definition asks for."""
        return self._new_instance().predictions

    @property
    def scores_position(self) -> int | None:
        """How many scores are in the state, as the log has it after a crash."""
        return self._partition.scores_position

    def define(self) -> None:
        """Define what is not defined yet: it begins with the history before it."""
        self._defined = True
        instance = self._new_instance()
        instance.backfill = Backfill(0)
        instance.unpublished.add(TOTAL)
        self._partition.instances[self._key] = instance
        self._partition.promote(self._partition.position)
        self.commit()

    def backfill(self, batch: int) -> bool:
        """Read a batch of history for a definition that is not live; tell whether it is now."""
        if not self._partition.backfilling:
            return True
        begin = self._partition.backfilling[self._key].at
        end = min(begin + batch, self._partition.position)
        self._process(OffsetRange(begin, end), Pass.BACKFILL)
        past = self._partition.expire_backfill(self._store[end - 1].at)
        self._publishers.publish(self._context, past)
        self._partition.promote(self._partition.position)
        self.commit()
        return not self._partition.backfilling

    def recount(self, batch: int, max_bytes: Sequence[int]) -> Iterator[None]:
        """Count in the order of time what is behind, in steps, and commit after each.

        `batch` is how many events a step reads, `max_bytes` the memory for them, at one time after
        the other.
        """
        behind = [one for one in self._partition.instances.values() if one.live and one.behind]
        make = lambda _: self._new_instance()  # noqa: E731
        read = partial(self._read_past, batch)
        limits = itertools.cycle(max_bytes)
        recount = Recount(self._partition, behind, make, read, 0, lambda: next(limits))
        for _ in recount.run(lambda: self._now, self._publish_recounted):
            self.commit()
            yield

    def _publish_recounted(self, changed: list[tuple[AnyInstance, Any]]) -> None:
        self._publishers.publish(self._context, PartitionChanges(changed, []))

    def _read_past(
        self, batch: int, begin: int, end: int, _: Collection[Key]
    ) -> Iterator[MatchedEvents]:
        for first in range(begin, end, batch):
            yield self._matched(OffsetRange(first, min(first + batch, end)))

    def snapshot(self) -> None:
        """Write a snapshot of what is committed."""
        self._log.snapshot(self._partition, cast(Reader, self._kept))

    def crash(self, *, from_the_beginning: bool = False) -> None:
        """Lose everything but what was committed, and restore it.

        `from_the_beginning` processes all events again, more than the log asks for.
        """
        self._log = self._new_log()
        committed, reader = len(self._store), cast(Reader, self._kept)
        restoring = self._log.restore(self._empty_partition, committed, reader)
        try:
            while True:
                next(restoring)
        except StopIteration as done:
            recovery = done.value
        self._partition = recovery.partition
        for _ in self._publishers.restore(0, self._partition.instances, reader):
            pass
        for offsets, run in (
            (recovery.past, Pass.REPLAY_BACKFILL),
            (recovery.live, Pass.REPLAY_LIVE),
        ):
            begin = 0 if from_the_beginning else offsets.begin
            if begin < offsets.end:
                self._process(OffsetRange(begin, offsets.end), run)
        self._partition.restored(committed, recovery.clocks)
        self._partition.promote(committed)

    # ── what there is ────────────────────────────────────────────────────────────────────────────

    @property
    def clock(self) -> int:
        """The project's time (ms): that of its newest event, and what has passed since.

        It is never ahead of the time of day.
        """
        newest = max((recorded.event.at - recorded.at for recorded in self._store), default=0)
        return self._now + min(newest, 0)

    @property
    def clock_offset(self) -> int:
        """How far the events of this partition move the clock, as the engine has it."""
        return self._partition.clock_offsets.get(PROJECT, NEVER)

    @property
    def late(self) -> int:
        """How many events came too late to count."""
        return self._partition.instances[self._key].late

    @property
    def behind(self) -> int:
        """How many of them a recount will count."""
        return self._partition.instances[self._key].behind

    @property
    def keeps_persons(self) -> bool:
        """Whether the definition has rows of persons."""
        return self._partition.instances[self._key].state.by_person

    def published(self) -> Published:
        """Return what a consumer of the topics has now."""
        aggregates = self._operator.spec.aggregates
        newest = self._kept.newest(aggregates.topic(self._topics).name)
        return Published(
            [decode_value(aggregates.schema, value) for value in newest.values() if value],
            [
                decode_value(of.schema, value)
                for of in self._operator.spec.changes
                for _, value in self._kept.written(of.topic(self._topics).name)
                if value
            ],
        )

    def rows(self) -> dict[str, bytes]:
        """Return the rows of all persons as they would be logged."""
        state = self._partition.instances[self._key].state
        rows = np.arange(state.size, dtype=np.int32)
        data, begins, ends = state.pack(rows, 0)
        persons = self._partition.persons.second(state.persons_of(rows)).to_pylist()
        bounds = zip(begins.tolist(), ends.tolist(), strict=True)
        return {
            person: data[slice(*of)].tobytes() for person, of in zip(persons, bounds, strict=True)
        }

    def logged(self) -> dict[bytes, bytes | None]:
        """Return what is in the log of persons' rows."""
        return self._kept.newest(self._topics.person_state.name)

    def unpack(self, row: bytes) -> None:
        """Give a logged row to a state that holds nothing yet."""
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        self._new_instance().state.unpack(1, np.zeros(1, np.int32), packed)

    # ── how the worker does it ───────────────────────────────────────────────────────────────────

    def _new_log(self) -> PersonChangelog:
        topic, snapshots = self._topics.person_state.name, cast(Snapshots, self._snapshots)
        return PersonChangelog(topic, 0, snapshots, self._outbox)

    def _new_instance(self) -> AnyInstance:
        instance: AnyInstance = self._operator.instance(self._definition, self._lateness_ms)
        return instance

    def _empty_partition(self) -> Partition:
        partition = Partition(self._elsewhere)
        if self._defined:
            partition.instances[self._key] = self._new_instance()
        return partition

    @property
    def _context(self) -> PartitionContext:
        position, persons = self._partition.position, self._partition.persons
        return PartitionContext(0, position, persons, self._now)

    def _process(self, offsets: OffsetRange, run: Pass) -> None:
        """Process events of the event store, and publish what they change if it is not."""
        due = self._now + self._checkpoint_ms
        changes = self._partition.process(self._matched(offsets), run, due)
        if not run.replay:
            self._publishers.publish(self._context, changes)

    def _matched(self, offsets: OffsetRange) -> MatchedEvents:
        recorded = self._store[slice(*offsets)]
        events = [one.event for one in recorded]
        decoded = Events(
            offsets,
            np.arange(*offsets, dtype=np.int64),
            StringColumn.of(texts([PROJECT] * len(events))),
            StringColumn.of(texts([event.person for event in events])),
            StringColumn.of(texts([event.event for event in events])),
            texts([event.text for event in events]),
            np.array([event.at for event in events], np.int64),
            np.array([one.at for one in recorded], np.int64),
        )
        found = self._matcher.match(decoded.projects, decoded.names, decoded.properties)
        ahead = max(one.event.at - one.at for one in recorded)
        return MatchedEvents(decoded, found.matches, {PROJECT: ahead}, found.failures)


def cut(events: Sequence[Event], sizes: Iterable[int]) -> list[Sequence[Event]]:
    """Cut events into batches of these sizes, and a last one of the rest."""
    batches: list[Sequence[Event]] = []
    begin = 0
    for size in sizes:
        batches.append(events[begin : begin + size])
        begin += size
    return [batch for batch in (*batches, events[begin:]) if batch]
