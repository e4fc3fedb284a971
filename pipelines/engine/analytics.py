"""Every definition, evaluated on the stream: events in, results out.

    avila.events ─▶ decode ─▶ match ─▶ process ─▶ publish ─▶ changes of persons  each operator on
                                          │                  aggregates          topics of its own
                                          └────────────────▶ avila.state.persons rows, seconds later

A definition begins between two epochs. It counts all that ever happened: the event store is read
for it from the beginning, until it has caught up and is live. A new version begins empty; what the
old version has published is deleted when it ends.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException

from pipelines.engine.backfill import Backfills
from pipelines.engine.catalog import DefinitionCatalog
from pipelines.engine.changelog import PersonChangelog, Recovery
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.event_clocks import EventClocks
from pipelines.engine.events import EventDecoder, MatchedEvents
from pipelines.engine.failed_instance import FailedInstance
from pipelines.engine.instance import AnyInstance, Backfill, reason_of
from pipelines.engine.operator import AnyOperator, PartitionContext
from pipelines.engine.partition import Partition, PartitionChanges, Pass
from pipelines.engine.publishers import Publishers
from pipelines.engine.read_marks import ReadMarks
from pipelines.engine.recount_queue import RecountQueue
from pipelines.engine.score_input import ScoreInput
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.matching.match import Key
from pipelines.worker.snapshots import Snapshots
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.follower import TopicReader
from schemas.operators.prediction import PREDICTION
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_LIVE_PER_BACKFILL: Final = 3.0
_LIVE_PER_RECOUNT: Final = 9.0


class Analytics(Table):
    """All definitions of all operators, in the partitions that this worker has."""

    name = "persons"
    help = "What each person did, as far as any definition asks"

    def __init__(
        self, settings: Settings, outbox: Outbox, operators: Sequence[AnyOperator]
    ) -> None:
        self.source = settings.topics.events.name
        self.outputs = (settings.topics.person_state.name,)
        self._settings = settings
        self._outbox = outbox
        self._operators = operators
        self._lateness_ms = settings.allowed_lateness_s * 1_000
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._partitions: dict[int, Partition] = {}
        self._changelogs: dict[int, PersonChangelog] = {}
        self._outdated: set[int] = set()  # partitions that lack the latest definitions
        self._backfills = Backfills(settings.cluster, self.source, self._process_past)
        self._recounts = RecountQueue(
            settings.cluster,
            self.source,
            self._match_past,
            self._begin_of,
            self._instance,
            self._publish_recounted,
        )
        self._marks = ReadMarks(settings.cluster, settings.topics.inbox.name, self.source)
        self._committed: Mapping[TopicPartition, int] = {}
        self._recount_next = False  # rather than a backfill

    def connect(self, registry: SchemaRegistry) -> None:
        """Connect to the broker; call it once, before anything else. Blocks."""
        topics = self._settings.topics
        self._decoder = EventDecoder(registry)
        self._publishers = Publishers(self._operators, self._settings, registry, self._outbox)
        definitions = TopicReader(self._settings.cluster, [topics.definitions.name])
        self._catalog = DefinitionCatalog(self._operators, definitions)
        self._scores = ScoreInput(
            self._settings.cluster, PREDICTION.changes[0].topic(topics).name, registry
        )
        clocks = TopicReader(self._settings.cluster, [topics.clocks.name])
        self._clocks = EventClocks(topics.clocks.name, clocks, registry, self._outbox)

    # ── an epoch's events ────────────────────────────────────────────────────────────────────────

    def process(self, records: Records) -> None:
        """Process a batch of the event store; its results are in the outbox on return."""
        number, now = records.source.partition, _now_ms()
        partition = self._partitions[number]
        with stage("analytics: decode"):
            events = self._decoder.decode(records, partition.position)
        with stage("analytics: match"):
            matched = self._catalog.match(events)
        with stage("analytics: process"):
            changes = partition.process(matched, Pass.LIVE, self._log_at(now))
        with stage("analytics: publish"):
            self._publishers.publish(self._context(number, now), changes)

    def _process_past(self, number: int, records: Records, begin: int) -> None:
        """Process a batch of history for what is backfilling, and let its time pass."""
        partition, now = self._partitions[number], _now_ms()
        events = self._decoder.decode(records, begin)
        matched = self._catalog.match(events, frozenset(partition.backfilling))
        changes = partition.process(matched, Pass.BACKFILL, self._log_at(now))
        context = self._context(number, now)
        self._publishers.publish(context, changes)
        expired = partition.expire_backfill(int(records.timestamps[-1]))
        self._publishers.publish(context, expired)

    def _match_past(self, records: Records, begin: int, keys: Collection[Key]) -> MatchedEvents:
        events = self._decoder.decode(records, begin)
        return self._catalog.match(events, frozenset(keys))

    def _begin_of(self, number: int, instances: Sequence[AnyInstance]) -> int:
        """Return an offset before which some instances select no events."""
        position = self._partitions[number].position
        skew_ms = 1_000 * self._settings.max_future_skew_s
        since_ms = min(instance.definition.since_ms for instance in instances)
        return self._backfills.start_offset(number, since_ms, skew_ms, position)

    def _publish_recounted(self, number: int, changed: list[tuple[AnyInstance, Any]]) -> None:
        context = self._context(number, _now_ms())
        self._publishers.publish(context, PartitionChanges(changed, []))

    def _context(self, number: int, now_ms: int) -> PartitionContext:
        partition = self._partitions[number]
        return PartitionContext(number, partition.position, partition.persons, now_ms)

    def _log_at(self, now_ms: int) -> int:
        return now_ms + self._settings.checkpoint_interval_ms

    # ── commits ──────────────────────────────────────────────────────────────────────────────────

    def note_committed(self, committed: Mapping[TopicPartition, int]) -> None:
        """Note up to where this worker has read the inbox and the event store."""
        self._committed = committed

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Apply new definitions, let time pass, log rows that are due, publish aggregates."""
        read_to = self._marks.take()
        self._publishers.follow()
        if self._catalog.follow():
            self._outdated |= self._partitions.keys()
        self._clocks.follow()
        self._scores.follow()
        for number, partition in self._partitions.items():
            self._clocks.publish(number, partition, now_ms)
        for number, partition in self._partitions.items():
            partition.position = positions.get(number, partition.position)
            if number in self._outdated:
                self._apply_definitions(number)
            self._redefine(partition)
            self._scores.take(number, partition, now_ms)
            context = self._context(number, now_ms)
            self._publishers.publish(context, partition.expire(now_ms))
            if number in read_to:
                self._publishers.publish(context, partition.read_to(read_to[number]))
            changelog = self._changelogs[number]
            changelog.write_rows(partition, now_ms)
            self._publishers.publish_aggregates(context, partition.instances.values())
            changelog.write_meta(partition)  # last: it says which definitions have failed by now
        self._outdated.clear()
        self._marks.ask(self._waiting(positions), self._committed)

    def _waiting(self, positions: Mapping[int, int]) -> Iterator[int]:
        """Yield the partitions without new events that need to know that time passes."""
        for number, partition in self._partitions.items():
            committed = self._committed.get(TopicPartition(self.source, number))
            if partition.awaits_time and committed == positions.get(number):
                yield number

    def _apply_definitions(self, number: int) -> None:
        """End the definitions that are not in the catalog any more, and begin with new ones.

        A definition whose record cannot be read keeps its figures, and is suspended until it can.
        """
        partition, catalog = self._partitions[number], self._catalog
        context = self._context(number, _now_ms())
        for key, instance in list(partition.instances.items()):
            if self._is_current(instance):
                if instance.suspended:
                    instance.resume()
            elif unreadable := catalog.unreadable.get(key.definition):
                clock_offset = partition.clock_offsets.get(key.project, NEVER)
                instance.suspend(unreadable.reason, partition.position, clock_offset)
            else:
                self._changelogs[number].tombstone(partition, key)
                self._publishers.forget(context, partition.instances.pop(key))
        for key in catalog:
            if key not in partition.instances:
                partition.instances[key] = self._begin(number, key)
        for definition, (reason, version) in catalog.unreadable.items():
            if (
                version is not None
                and (key := Key(*definition, version)) not in partition.instances
            ):
                partition.instances[key] = FailedInstance(key, reason, unreadable=True)
        for key, instance in partition.instances.items():
            had_previous, instance.has_previous = instance.has_previous, key in catalog.superseding
            if had_previous and not instance.has_previous:
                self._publishers.supersede(context, instance)
        partition.promote(partition.position)  # definitions without any history
        self._clocks.forget(number, partition)

    def _redefine(self, partition: Partition) -> None:
        """Give definitions that have changed in place their latest revision."""
        for key, instance in partition.instances.items():
            entry = self._catalog.get(key)
            if entry is None or isinstance(instance, FailedInstance):
                continue
            if entry.definition is not instance.definition and entry.tag == int(instance.tag):
                instance.redefine(entry.definition)

    def _is_current(self, instance: AnyInstance) -> bool:
        """Whether the catalog has the very definition, and not another one of the same key."""
        entry = self._catalog.get(instance.key)
        if entry is None:
            return False
        if isinstance(instance, FailedInstance):
            return instance.counted or not instance.unreadable
        return entry.tag == int(instance.tag)

    def _begin(self, number: int, key: Key) -> AnyInstance:
        """Make the instance of a definition that is new to a partition; its backfill begins."""
        instance = self._instance(key)
        instance.unpublished.add(TOTAL)
        if not instance.failed:
            instance.backfill = Backfill(self._begin_of(number, [instance]))
        return instance

    def _instance(self, key: Key) -> AnyInstance:
        operator, definition, _ = self._catalog[key]
        try:
            instance: AnyInstance = operator.instance(definition, self._lateness_ms)
            instance.set_partitions(self._settings.partitions)
        except MemoryError:
            raise
        except Exception as error:
            log.error("definition failed", definition=key.name, exc_info=error)
            return FailedInstance(key, reason_of(error))
        return instance

    def snapshot(
        self,
        positions: Mapping[int, int],  # noqa: ARG002 (each partition knows its own)
        reader: Reader,
    ) -> None:
        """Begin to write a snapshot of every partition."""
        for number, partition in self._partitions.items():
            try:
                self._changelogs[number].snapshot(partition, reader)
            except KafkaException as error:
                log.warning("no snapshot this time", partition=number, reason=str(error))

    @property
    def rows(self) -> int:
        """Number of rows of persons, of all definitions."""
        return sum(partition.rows for partition in list(self._partitions.values()))

    @property
    def nbytes(self) -> int:
        """The memory that they take in bytes, spare room included."""
        return sum(partition.nbytes for partition in list(self._partitions.values()))

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore a partition as of source offset `committed`: rows, aggregates, recent events."""
        while not self._catalog.caught_up:
            self._catalog.follow(timeout_s=0.5)
            yield
        while not self._clocks.caught_up:
            self._clocks.follow(timeout_s=0.5)
            yield
        number, topic = partition, self._settings.topics.person_state.name
        changelog = PersonChangelog(topic, number, self._snapshots, self._outbox)
        recovery = yield from changelog.restore(self._empty_partition, committed, reader)
        yield from self._restore_aggregates(number, recovery, reader)
        while not self._publishers.caught_up:
            self._publishers.follow()
            yield
        yield from self._replay(number, recovery, reader)
        recovery.partition.restored(committed, recovery.clocks)
        recovery.partition.promote(committed)  # definitions without any history left
        self._changelogs[number] = changelog
        self._partitions[number] = recovery.partition
        self._outdated.add(number)

    def _empty_partition(self) -> Partition:
        partition = Partition(self._clocks.offset_of)
        partition.instances = {key: self._instance(key) for key in self._catalog}
        return partition

    def _restore_aggregates(
        self, number: int, recovery: Recovery, reader: Reader
    ) -> Iterator[None]:
        """Load the published aggregates; delete those of definitions that are not there any more.

        A definition that the log does not know begins again, so its aggregates are deleted, too.
        """
        meta, instances = recovery.meta, recovery.partition.instances
        for name in (*meta.live, *meta.backfills, *meta.failed):
            key = Key.parse(name)
            unreadable = self._catalog.unreadable.get(key.definition)
            if unreadable is not None and key not in instances:
                instances[key] = FailedInstance(key, unreadable.reason, unreadable=True)
        known = {key: one for key, one in instances.items() if meta.knows(key.name)}
        yield from self._publishers.restore(number, known, reader)
        for key, instance in instances.items():
            instance.has_previous = key.name in meta.superseding or key in self._catalog.superseding
            if isinstance(instance, FailedInstance):
                instance.counted = meta.knows(key.name)
            elif key.name in meta.backfills and instance.failed_before:
                instance.resume()  # it was suspended, and can be read again

    def _replay(self, number: int, recovery: Recovery, reader: Reader) -> Iterator[None]:
        """Process again the events that may be missing from the log."""
        partition, source = recovery.partition, TopicPartition(self.source, number)
        due = self._log_at(_now_ms())
        for offsets, run in (
            (recovery.past, Pass.REPLAY_BACKFILL),
            (recovery.live, Pass.REPLAY_LIVE),
        ):
            begin = offsets.begin
            for records in reader.read(source, *offsets):
                if records is not None:
                    events = self._decoder.decode(records, begin)
                    partition.process(self._catalog.match(events), run, due)
                    begin = records.next_offset
                yield

    def drop(self, partition: int) -> None:
        """Drop a partition, in memory only."""
        self._partitions.pop(partition, None)
        self._changelogs.pop(partition, None)
        self._outdated.discard(partition)
        self._scores.drop(partition)
        self._backfills.drop(partition)
        self._recounts.drop(partition)

    # ── catching up with history ─────────────────────────────────────────────────────────────────

    @property
    def backfilling(self) -> bool:
        """Whether a definition of any partition is not live yet, or is to be counted again."""
        return self._is_backfilling or self._recounts.due(self._partitions)

    @property
    def _is_backfilling(self) -> bool:
        return any(partition.backfilling for partition in self._partitions.values())

    @property
    def live_per_past(self) -> float:
        """How long live events are processed, if they wait, per time that `catch_up` takes."""
        return _LIVE_PER_BACKFILL if self._is_backfilling else _LIVE_PER_RECOUNT

    def catch_up(self) -> None:
        """Process a batch of past events for what is not live yet, or for what is behind.

        Backfills and recounts take turns, and so do partitions: the one whose history is the least
        far in time is next. The results are in the outbox on return.
        """
        self._recount_next = not (self._recount_next and self._is_backfilling)
        if self._recount_next and self._recounts.due(self._partitions):
            with stage("analytics: recount"):
                self._recounts.step(self._partitions)
            return
        backfilling = [
            (partition.history_clock, number)
            for number, partition in self._partitions.items()
            if partition.backfilling
        ]
        if backfilling:
            _, number = min(backfilling)
            with stage("analytics: backfill"):
                self._backfills.step(number, self._partitions[number])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
