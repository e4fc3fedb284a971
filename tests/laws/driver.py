"""A partition of the worker, epoch by epoch, with its topics in memory.

This module alone knows how the worker asks its operators: a change of that contract is made here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np

from pipelines.columnar.string_column import StringColumn
from pipelines.engine.changelog import PersonChangelog
from pipelines.engine.operator import (
    TOTAL,
    Backfill,
    Changes,
    Key,
    Operator,
    OperatorInstance,
    Packed,
    PartitionContext,
    Publisher,
    key_of,
)
from pipelines.engine.partition import EventColumns, OffsetRange, Partition
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.matcher import Match, Matcher
from pipelines.operators.cohort.operator import COHORT
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.operators.metric.operator import METRIC
from pipelines.operators.segment.operator import SEGMENT
from pipelines.worker.snapshots import Snapshots
from schemas.definitions import Definition, Kind
from schemas.operators import BY_NAME
from schemas.topics import Topics
from tests.events import decode_value
from tests.laws.topics import MemoryRegistry, MemorySnapshots, MemoryTopics, texts
from tests.oracles.events import Event, Json

PROJECT: Final = "shop"
NAME: Final = "it"  # of the definition that a law is about
NOW: Final = 1_800_000_000_000
OPERATORS: Final[Mapping[str, Operator]] = {
    operator.name: operator for operator in (FUNNEL, COHORT, SEGMENT, METRIC)
}


class Published(NamedTuple):
    """What a partition has published of a definition: newest records, and changes in order."""

    aggregates: list[dict[str, Any]]
    changes: list[dict[str, Any]]


class Recorded(NamedTuple):
    """An event of the event store, and when it was recorded."""

    event: Event
    at: int


def definition_of(kind: Kind, body: Json, project: str = PROJECT, name: str = NAME) -> Definition:
    """Return a definition as it is on the definitions topic; a segment's rule has no references."""
    record = {
        "project_id": project,
        "id": name,
        "version": 1,
        "created_at": 0,
        "updated_at": 0,
        kind: body,
        **({"rule": body["rule"]} if kind == "segment" else {}),
    }
    return BY_NAME[kind].decode(json.dumps(record).encode())


class Life:
    """A partition that takes events in, commits, crashes and goes on; for one definition.

    `checkpoint_ms` is for how long rows may wait to be logged. A life that is `late` defines when
    it is told to, and reads history for it.
    """

    def __init__(
        self,
        kind: Kind,
        body: Json,
        lateness_ms: int,
        *,
        checkpoint_ms: int = 0,
        late: bool = False,
    ) -> None:
        self._operator, self._definition = OPERATORS[kind], definition_of(kind, body)
        self._spec, self._key = BY_NAME[kind], key_of(self._definition)
        self._lateness_ms, self._checkpoint_ms = lateness_ms, checkpoint_ms
        self._snapshots = MemorySnapshots()
        self._topics, self._outbox, self._kept = Topics("laws"), Outbox(), MemoryTopics()
        self._registry = MemoryRegistry()
        self._publisher: Publisher = self._operator.publisher(
            self._topics, self._registry, self._outbox
        )
        self._matcher = Matcher(
            [
                (
                    self._key,
                    self._operator.selectors(self._definition),
                    self._operator.reads(self._definition),
                )
            ]
        )
        self._store: list[Recorded] = []
        self._now = NOW
        self._log = self._new_log()
        self._partition = Partition()
        self._defined = not late
        if self._defined:
            self._partition.instances[self._key] = self._new_instance()

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
            columns, matches, ahead = self._look(begin, len(self._store))
            self._partition.advance_event_clock(PROJECT, ahead)
            folded = self._partition.fold(columns, matches, self._now + self._checkpoint_ms)
            self._announce(list(folded))
            self._partition.position = len(self._store)

    def commit(self) -> list[dict[str, Any]]:
        """Let time pass, log and publish; returns the changes of persons that this announced."""
        expired = list(self._partition.expire(self._now))
        self._publisher.expired(self._context, expired)
        self._log.write(self._partition, self._now)
        for instance in self._partition.instances.values():
            if instance.unpublished:
                self._publisher.aggregates(self._context, instance)
                instance.unpublished.clear()
        announced: defaultdict[str, list[bytes]] = defaultdict(list)
        for sent in self._outbox.take():
            self._kept.write(sent)
            announced[sent.topic] += filter(None, sent.values.to_pylist())
        return [
            decode_value(of.schema, value)
            for of in self._spec.changes
            for value in announced[of.topic(self._topics).name]
        ]

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
        columns, matches, ahead = self._look(begin, end)
        due = self._now + self._checkpoint_ms
        offsets = OffsetRange(begin, end)
        changed = list(self._partition.backfill(columns, matches, offsets, {PROJECT: ahead}, due))
        self._announce(changed)
        past = self._store[end - 1].at
        self._publisher.expired(self._context, list(self._partition.expire_backfill(past)))
        self._partition.promote(self._partition.position)
        self.commit()
        return not self._partition.backfilling

    def snapshot(self) -> None:
        """Write a snapshot of what is committed."""
        self._log.snapshot(self._partition, cast(Reader, self._kept))

    def crash(self, *, from_the_beginning: bool = False) -> None:
        """Lose everything but what was committed, and restore it.

        `from_the_beginning` folds all events again, more than the log asks for.
        """
        self._log, partition = self._new_log(), Partition()
        if self._defined:
            partition.instances[self._key] = self._new_instance()
        committed, reader = len(self._store), cast(Reader, self._kept)
        restoring = self._log.restore(partition, committed, reader)
        try:
            while True:
                next(restoring)
        except StopIteration as done:
            recovery = done.value
        for _ in self._publisher.restore(0, partition.instances, reader):
            pass
        due = self._now + self._checkpoint_ms
        for offsets, fold in (
            (recovery.past, partition.replay_backfill),
            (recovery.live, partition.replay),
        ):
            begin = 0 if from_the_beginning else offsets.begin
            if begin < offsets.end:
                columns, matches, ahead = self._look(begin, offsets.end)
                fold(columns, matches, due)
                if offsets is recovery.live:
                    partition.advance_event_clock(PROJECT, ahead)
        partition.restored(committed, recovery.clocks)
        partition.promote(committed)
        self._partition = partition

    # ── what there is ────────────────────────────────────────────────────────────────────────────

    @property
    def clock(self) -> int:
        """The project's time (ms): that of its newest event, and what has passed since."""
        return self._now + max(
            (recorded.event.at - recorded.at for recorded in self._store), default=0
        )

    @property
    def late(self) -> int:
        """How many events came too late to count."""
        return self._partition.instances[self._key].late

    def published(self) -> Published:
        """Return what a consumer of the topics has now."""
        aggregates = self._spec.aggregates
        newest = self._kept.newest(aggregates.topic(self._topics).name)
        return Published(
            [decode_value(aggregates.schema, value) for value in newest.values() if value],
            [
                decode_value(of.schema, value)
                for of in self._spec.changes
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

    def _new_instance(self) -> OperatorInstance:
        return OperatorInstance(self._operator, self._definition, self._lateness_ms)

    @property
    def _context(self) -> PartitionContext:
        position, persons = self._partition.position, self._partition.persons
        return PartitionContext(0, position, persons, self._now)

    def _announce(self, changed: Sequence[tuple[OperatorInstance, Changes]]) -> None:
        self._publisher.changes(self._context, changed)

    def _look(self, begin: int, end: int) -> tuple[EventColumns, dict[Key, Match], int]:
        events = [recorded.event for recorded in self._store[begin:end]]
        projects = StringColumn.of(texts([PROJECT] * len(events)))
        columns = EventColumns(
            projects,
            StringColumn.of(texts([event.person for event in events])),
            np.array([event.at for event in events], np.int64),
            np.arange(begin, end, dtype=np.int64),
        )
        names = StringColumn.of(texts([event.event for event in events]))
        properties = texts([event.text for event in events])
        matches = self._matcher.match(projects, names, properties)
        ahead = max(recorded.event.at - recorded.at for recorded in self._store[begin:end])
        return columns, matches, ahead


def cut(events: Sequence[Event], sizes: Iterable[int]) -> list[Sequence[Event]]:
    """Cut events into batches of these sizes, and a last one of the rest."""
    batches: list[Sequence[Event]] = []
    begin = 0
    for size in sizes:
        batches.append(events[begin : begin + size])
        begin += size
    return [batch for batch in (*batches, events[begin:]) if batch]
