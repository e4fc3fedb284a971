"""Analytics on the stream: events in, changes of persons and figures of definitions out.

    avila.events ─▶ match ─▶ fold ─▶ changes of persons      each kind on its own topic
                               ├───▶ figures                 each kind on its own topic
                               └───▶ avila.state.persons     rows, some seconds later

Every partition keeps every definition, of whatever kind (`pipelines.engine.operator`). One is taken
up between two epochs. It counts all that ever happened: the event store is read again for it, from
its beginning, until it has caught up and is live. One that is changed begins anew, and what its
older version left behind is deleted.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final

import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import KafkaException

from pipelines.columnar.string_column import StringColumn
from pipelines.engine.catalog import DefinitionCatalog
from pipelines.engine.changelog import PersonChangelog
from pipelines.engine.operator import (
    TOTAL,
    Backfill,
    Changed,
    Changes,
    Key,
    Operator,
    OperatorInstance,
    PartitionContext,
)
from pipelines.engine.partition import EventColumns, OffsetRange, Partition
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.matching.matcher import Match
from pipelines.worker.snapshots import Snapshots
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.avro import files
from schemas.avro.codec import Codec, Decoded
from schemas.follower import TopicReader
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings
from schemas.time.since import ALL_TIME

log = structlog.get_logger(__name__)

_CATCH_UP_BATCH: Final = 20_000  # events
_WAITED_ENOUGH: Final = 20  # times a tenth of a second
_CLOCKS_DIFFER_MS: Final = 3_600_000
_DONE: Final = object()


class Analytics(Table):
    """All definitions, of all `kinds`, in the partitions that this worker has."""

    name = "persons"
    help = "What each person did, as far as any definition asks"

    def __init__(self, settings: Settings, outbox: Outbox, operators: Sequence[Operator]) -> None:
        self.source = settings.topics.events.name
        self.outputs = (settings.topics.person_state.name,)
        self._settings = settings
        self._outbox = outbox
        self._operators = operators
        self._lateness_ms = settings.allowed_lateness_s * 1000
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._partitions: dict[int, Partition] = {}
        self._logs: dict[int, PersonChangelog] = {}
        self._backfills: dict[int, Iterator[None]] = {}

    def connect(self, registry: SchemaRegistry) -> None:
        """Meet the broker; to be called once, before anything else is. Blocks."""
        topics = self._settings.topics
        self._decode = Codec(files.load("event"), registry.find, ours=True).decode
        self._publishers = {
            kind.name: kind.publisher(topics, registry, self._outbox) for kind in self._operators
        }
        follower = TopicReader(self._settings.bootstrap, [topics.definitions.name])
        self._catalog = DefinitionCatalog(self._operators, follower)

    # ── an epoch's events ────────────────────────────────────────────────────────────────────────

    def fold(self, records: Records) -> None:
        """Fold a batch of the event store; what comes of it is in the outbox when this returns."""
        number = records.source.partition
        partition = self._partitions[number]
        events, matches, ahead = self._look(records)
        for project, ms in ahead.items():
            partition.advance_event_clock(project, ms)
        now = _now_ms()
        with stage("analytics: fold"):
            folded = list(partition.fold(events, matches, self._log_at(now)))
        with stage("analytics: announce"):
            self._announce(self._context(number, now), folded)
        partition.position = records.next_offset

    def _look(
        self, records: Records, only: frozenset[Key] | None = None
    ) -> tuple[EventColumns, dict[Key, Match], dict[str, int]]:
        """Decode a batch, find which of its events concern what, and how projects' time goes on.

        What concerns others than `only` some definitions is then left out.
        """
        with stage("analytics: decode"):
            decoded = self._decode(records.values)
        for failure in decoded.failures:
            # The Tracker writes no such thing: whoever did, it is no event, and stays where it is.
            log.error(
                "not an event",
                source=records.source,
                offset=int(records.offsets[failure.row]),
                reason=failure.reason,
                detail=failure.detail,
            )
        with stage("analytics: match"):
            return self._matched(records, decoded, only)

    def _matched(
        self, records: Records, decoded: Decoded, only: frozenset[Key] | None
    ) -> tuple[EventColumns, dict[Key, Match], dict[str, int]]:
        column = decoded.batch.column
        at = np.asarray(column("timestamp").cast(pa.int64()))
        projects = StringColumn.of(column("project_id"))
        ahead = self._catalog.newest(projects, at - records.timestamps[decoded.rows])
        offsets = records.offsets[decoded.rows]
        events = EventColumns(projects, StringColumn.of(column("person_id")), at, offsets)
        names = StringColumn.of(column("event"))
        matches = self._catalog.match(projects, names, column("properties"), only)
        return events, matches, ahead

    def _announce(
        self, context: PartitionContext, changed: Iterable[tuple[OperatorInstance, Changes]]
    ) -> None:
        for kind, of_kind in _by_kind(changed).items():
            self._publishers[kind].changes(context, of_kind)

    def _announce_expired(
        self, context: PartitionContext, changed: Iterable[tuple[OperatorInstance, Changes]]
    ) -> None:
        for kind, of_kind in _by_kind(changed).items():
            self._publishers[kind].expired(context, of_kind)

    def _context(self, number: int, now_ms: int) -> PartitionContext:
        partition = self._partitions[number]
        return PartitionContext(number, partition.position, partition.persons, now_ms)

    # ── commits ──────────────────────────────────────────────────────────────────────────────────

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Take up definitions, let time pass, log rows that are due, publish figures."""
        if self._catalog.follow():
            for number in self._partitions:
                self._apply_definitions(number)
        for number, partition in self._partitions.items():
            partition.position = positions.get(number, partition.position)
            context = self._context(number, now_ms)
            self._announce_expired(context, partition.expire(now_ms))
            self._logs[number].write(partition, now_ms)
            for one in partition.instances.values():
                if one.unpublished:
                    self._publishers[one.kind.name].aggregates(context, one)
                    one.unpublished.clear()

    def _apply_definitions(self, number: int) -> None:
        """Begin with what is new, and end what is not wanted any more."""
        partition, catalog = self._partitions[number], set(self._catalog)
        context = self._context(number, _now_ms())
        for key in set(partition.instances) - catalog:
            self._logs[number].tombstone(partition, key)
            self._publishers[key.kind].forget(context, partition.instances.pop(key))
        for key in catalog - partition.instances.keys():
            one = OperatorInstance(*self._catalog[key], self._lateness_ms)
            one.backfill = Backfill(self._begin(number, one.since_ms, partition.position))
            one.unpublished.add(TOTAL)
            partition.instances[key] = one
        partition.promote(partition.position)  # there is no history before the first event

    def _begin(self, number: int, since_ms: int, position: int) -> int:
        """Where the first event of that time may be, or of a later one; at most `position`.

        None is newer than its record by more than the allowed skew, and by what the clocks of
        machines differ. Where it cannot be told now, it is the beginning: then more is read.
        """
        if since_ms == ALL_TIME:
            return 0
        skew_ms = 1_000 * self._settings.max_future_skew_s + _CLOCKS_DIFFER_MS
        try:
            with closing(Reader(self._settings.bootstrap)) as reader:
                source = TopicPartition(self.source, number)
                return min(reader.offset_at(source, max(since_ms - skew_ms, 0)), position)
        except KafkaException as error:
            log.warning("backfilling from the beginning", partition=number, reason=str(error))
            return 0

    def snapshot(
        self,
        positions: Mapping[int, int],  # noqa: ARG002 (each partition knows its own)
        reader: Reader,
    ) -> None:
        """Begin to write a snapshot of every partition."""
        for number, partition in self._partitions.items():
            try:
                self._logs[number].snapshot(partition, reader)
            except KafkaException as error:
                log.warning("no snapshot this time", partition=number, reason=str(error))

    @property
    def rows(self) -> int:
        """Rows of persons, of all definitions."""
        return sum(partition.rows for partition in list(self._partitions.values()))

    @property
    def nbytes(self) -> int:
        """The memory they take, spare room included."""
        return sum(partition.nbytes for partition in list(self._partitions.values()))

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore a partition as of source offset `committed`: rows, then figures, then redo."""
        while not self._catalog.caught_up:
            self._catalog.follow(timeout_s=0.5)
            yield
        number, state = partition, Partition()
        for key in self._catalog:
            state.instances[key] = OperatorInstance(*self._catalog[key], self._lateness_ms)
        topic = self._settings.topics.person_state.name
        person_log = PersonChangelog(topic, number, self._snapshots, self._outbox)
        replay = yield from person_log.restore(state, committed, reader)
        for publisher in self._publishers.values():
            yield from publisher.restore(number, state.instances, reader)
        due = self._log_at(_now_ms())
        for offsets, fold in ((replay.past, state.replay_backfill), (replay.live, state.replay)):
            for records in reader.read(TopicPartition(self.source, number), *offsets):
                if records is not None:
                    events, matches, ahead = self._look(records)
                    fold(events, matches, due)
                    for project, ms in ahead.items() if offsets is replay.live else ():
                        state.advance_event_clock(project, ms)
                yield
        state.restored(committed, replay.clocks)
        state.promote(committed)  # what nothing lies before
        self._logs[number] = person_log
        self._partitions[number] = state

    def drop(self, partition: int) -> None:
        """Forget a partition, in memory only."""
        self._partitions.pop(partition, None)
        self._logs.pop(partition, None)
        self._backfills.pop(partition, None)

    # ── catching up with history ─────────────────────────────────────────────────────────────────

    @property
    def backfilling(self) -> bool:
        """Whether a definition of any partition is not live yet."""
        return any(partition.backfilling for partition in self._partitions.values())

    def catch_up(self) -> None:
        """Fold a batch of past events into what is not live yet.

        What comes of it is in the outbox, as with `fold`. Reads a partition at a time, and tries
        again later what the broker does not give now.
        """
        number = next(
            (n for n, partition in self._partitions.items() if partition.backfilling), None
        )
        if number is None:
            return
        backfill = self._backfills.setdefault(number, self._backfill(number))
        with stage("analytics: backfill"):
            try:
                done = next(backfill, _DONE) is _DONE
            except KafkaException as error:
                log.warning("backfill waits", partition=number, reason=str(error))
                done = True
        if done:
            del self._backfills[number]

    def _backfill(self, number: int) -> Iterator[None]:
        """Take the definitions of a partition through history, batch by batch, until they are live.

        The last few batches are taken at one go, for the partition must not move on meanwhile.
        """
        partition = self._partitions[number]
        with closing(Reader(self._settings.bootstrap)) as reader:
            while backfilling := partition.backfilling.values():
                begin, end = min(backfill.at for backfill in backfilling), partition.position
                waited = 0
                for records in reader.read(TopicPartition(self.source, number), begin, end):
                    if records is None:
                        waited += 1
                    else:
                        self._fold_past(number, OffsetRange(begin, records.next_offset), records)
                        begin = records.next_offset
                    if end - begin > _CATCH_UP_BATCH or waited > _WAITED_ENOUGH:
                        yield
                if partition.position == end:
                    for key in partition.promote(begin):
                        log.info("live", definition=key.name, partition=number, since=end)

    def _fold_past(self, number: int, offsets: OffsetRange, records: Records) -> None:
        partition = self._partitions[number]
        events, matches, ahead = self._look(records, frozenset(partition.backfilling))
        now = _now_ms()
        context = self._context(number, now)
        changed = partition.backfill(events, matches, offsets, ahead, self._log_at(now))
        self._announce(context, changed)
        self._announce_expired(context, partition.expire_backfill(int(records.timestamps[-1])))

    def _log_at(self, now_ms: int) -> int:
        return now_ms + self._settings.checkpoint_interval_ms


def _by_kind(changed: Iterable[tuple[OperatorInstance, Changes]]) -> dict[str, Changed]:
    operators: defaultdict[str, list[tuple[OperatorInstance, Changes]]] = defaultdict(list)
    for one, changes in changed:
        operators[one.kind.name].append((one, changes))
    return dict(operators)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
