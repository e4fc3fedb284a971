"""Funnels on the stream: events in, steps of persons and figures of funnels out.

    avila.events ─▶ match ─▶ fold ─▶ avila.funnel-steps    each change of each person
                               ├───▶ avila.funnels         figures by entry day and in total
                               └───▶ avila.state.funnels   rows, some seconds later

Every partition keeps every funnel. A definition is taken up between two epochs. It counts all that
ever happened: the event store is read again for it, from its beginning, until it has caught up and
is live. One that is changed begins anew, and what its older version left behind is deleted.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import KafkaException

from pipelines.batch import Outbox, Records, TopicPartition
from pipelines.funnel_fold import TOTAL
from pipelines.funnel_log import FunnelLog
from pipelines.funnel_partition import (
    Backfill,
    EventColumns,
    Funnel,
    FunnelPartition,
    Stretch,
)
from pipelines.funnel_results import FunnelResults
from pipelines.keys import KeyIndex, Texts
from pipelines.matching import FunnelKey, Match, Matcher, key_of
from pipelines.metrics import stage
from pipelines.reader import Reader
from pipelines.snapshots import Snapshots
from pipelines.tables import Table
from schemas import definitions, files
from schemas.codec import Codec, Decoded
from schemas.follower import Follower
from schemas.registries import SchemaRegistry
from schemas.settings import Settings

log = structlog.get_logger(__name__)

_AT_ONE_GO: Final = 20_000  # events
_WAITED_ENOUGH: Final = 20  # times a tenth of a second
_DONE: Final = object()


class FunnelTable(Table):
    """All funnels of the partitions that this worker has."""

    name = "funnels"
    help = "How far persons got through each funnel, by entry day"

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.source = settings.topics.events.name
        self._settings = settings
        self._outbox = outbox
        self._lateness_ms = settings.allowed_lateness_s * 1000
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._definitions: dict[FunnelKey, definitions.FunnelDefinition] = {}
        self._compile()
        self._partitions: dict[int, FunnelPartition] = {}
        self._logs: dict[int, FunnelLog] = {}
        self._backfills: dict[int, Iterator[None]] = {}

    def connect(self, registry: SchemaRegistry) -> None:
        """Meet the broker; to be called once, before anything else is. Blocks."""
        topics = self._settings.topics
        self._decode = Codec(files.load("event"), registry.find, ours=True).decode
        self._results = FunnelResults(topics, registry, self._outbox)
        self._follower = Follower(self._settings.bootstrap, [topics.definitions.name])

    # ── an epoch's events ────────────────────────────────────────────────────────────────────────

    def fold(self, records: Records) -> None:
        """Fold a batch of the event store; what comes of it is in the outbox when this returns."""
        number = records.source.partition
        partition = self._partitions[number]
        events, matches, ahead = self._look(records)
        for project, ms in ahead.items():
            partition.hear(project, ms)
        with stage("funnels: fold"):
            folded = list(partition.fold(events, matches, self._log_at(_now_ms())))
        with stage("funnels: announce"):
            for funnel, changes in folded:
                self._results.steps(number, partition.persons, funnel, changes)
        partition.position = records.next_offset

    def _look(
        self, records: Records
    ) -> tuple[EventColumns, dict[FunnelKey, Match], dict[str, int]]:
        """Decode a batch, find which of its events concern which funnels, and how time goes on."""
        with stage("funnels: decode"):
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
        with stage("funnels: match"):
            return self._matched(records, decoded)

    def _matched(
        self, records: Records, decoded: Decoded
    ) -> tuple[EventColumns, dict[FunnelKey, Match], dict[str, int]]:
        column = decoded.batch.column
        at = np.asarray(column("timestamp").cast(pa.int64()))
        projects = Texts.of(column("project_id"))
        ahead = self._ahead(projects, at - records.timestamps[decoded.rows])
        offsets = records.offsets[decoded.rows]
        events = EventColumns(projects, Texts.of(column("person_id")), at, offsets)
        matches = self._matcher.match(projects, Texts.of(column("event")), column("properties"))
        return events, matches, ahead

    def _ahead(self, projects: Texts, ahead: Any) -> dict[str, int]:
        """How far the newest event of each project is ahead of its record."""
        rows = np.arange(len(ahead))
        nothing = Texts(np.zeros(len(ahead) + 1, np.int32), np.empty(0, np.uint8))
        codes = self._project_index.find(projects, nothing, rows)
        return {
            self._projects[code]: int(ahead[codes == code].max())
            for code in np.unique(codes[codes >= 0]).tolist()
        }

    # ── commits ──────────────────────────────────────────────────────────────────────────────────

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Take up definitions, let windows close, log rows that are due, publish figures."""
        if self._follow():
            for number in self._partitions:
                self._take_up_definitions(number)
        for number, partition in self._partitions.items():
            partition.position = positions.get(number, partition.position)
            for funnel, expired in partition.expire(now_ms):
                self._results.timeouts(number, partition.persons, funnel, expired)
            self._logs[number].write(partition, now_ms)
            for funnel in partition.funnels.values():
                self._results.figures(number, partition, funnel, now_ms)

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
        """Persons in funnels."""
        return sum(partition.rows for partition in list(self._partitions.values()))

    @property
    def nbytes(self) -> int:
        """The memory they take, spare room included."""
        return sum(partition.nbytes for partition in list(self._partitions.values()))

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore a partition as of source offset `committed`: rows, then figures, then redo."""
        while not self._follower.caught_up:
            self._follow(timeout_s=0.5)
            yield
        number, state = partition, FunnelPartition()
        for definition in self._definitions.values():
            state.funnels[key_of(definition)] = Funnel(definition, self._lateness_ms)
        row_log = FunnelLog(
            self._settings.topics.funnel_state.name, number, self._snapshots, self._outbox
        )
        redo = yield from row_log.restore(state, committed, reader)
        yield from self._results.restore(number, state, reader)
        due = self._log_at(_now_ms())
        for stretch, fold in ((redo.past, state.redo_backfill), (redo.live, state.redo)):
            for records in reader.read(TopicPartition(self.source, number), *stretch):
                if records is not None:
                    events, matches, ahead = self._look(records)
                    fold(events, matches, due)
                    for project, ms in ahead.items() if stretch is redo.live else ():
                        state.hear(project, ms)
                yield
        state.restored(committed)
        self._logs[number] = row_log
        self._partitions[number] = state

    def drop(self, partition: int) -> None:
        """Forget a partition, in memory only."""
        self._partitions.pop(partition, None)
        self._logs.pop(partition, None)
        self._backfills.pop(partition, None)

    # ── catching up with history ─────────────────────────────────────────────────────────────────

    @property
    def behind(self) -> bool:
        """Whether a funnel of any partition is not live yet."""
        return any(partition.behind for partition in self._partitions.values())

    def catch_up(self) -> None:
        """Fold a batch of past events into the funnels that are not live yet.

        What comes of it is in the outbox, as with `fold`. Reads a partition at a time, and tries
        again later what the broker does not give now.
        """
        number = next((n for n, partition in self._partitions.items() if partition.behind), None)
        if number is None:
            return
        backfill = self._backfills.setdefault(number, self._backfill(number))
        with stage("funnels: backfill"):
            try:
                done = next(backfill, _DONE) is _DONE
            except KafkaException as error:
                log.warning("backfill waits", partition=number, reason=str(error))
                done = True
        if done:
            del self._backfills[number]

    def _backfill(self, number: int) -> Iterator[None]:
        """Take the funnels of a partition through history, batch by batch, until they are live.

        The last few batches are taken at one go, for the partition must not move on meanwhile.
        """
        partition = self._partitions[number]
        with closing(Reader(self._settings.bootstrap)) as reader:
            while behind := partition.behind.values():
                begin, end = min(backfill.at for backfill in behind), partition.position
                waited = 0
                for records in reader.read(TopicPartition(self.source, number), begin, end):
                    if records is None:
                        waited += 1
                    else:
                        self._fold_past(number, Stretch(begin, records.next_offset), records)
                        begin = records.next_offset
                    if end - begin > _AT_ONE_GO or waited > _WAITED_ENOUGH:
                        yield
                if partition.position == end:
                    for key in partition.go_live(begin):
                        log.info("funnel live", funnel=key, partition=number, since=end)

    def _fold_past(self, number: int, stretch: Stretch, records: Records) -> None:
        partition = self._partitions[number]
        events, matches, ahead = self._look(records)
        due = self._log_at(_now_ms())
        for funnel, changes in partition.backfill(events, matches, stretch, ahead, due):
            self._results.steps(number, partition.persons, funnel, changes)
        for funnel, expired in partition.expire_backfill(int(records.timestamps[-1])):
            self._results.timeouts(number, partition.persons, funnel, expired)

    # ── definitions ──────────────────────────────────────────────────────────────────────────────

    def _follow(self, timeout_s: float = 0) -> bool:
        """Read what is new on the definitions topic; tells whether anything differs now."""
        before = dict(self._definitions)
        for message in self._follower.poll(timeout_s):
            try:
                project, kind, name = definitions.parse_key(message.key() or b"")
            except ValueError as error:
                log.error("not a definition", key=message.key(), reason=str(error))
                continue
            if kind != "funnel":
                continue
            for key in [key for key in self._definitions if key[:2] == (project, name)]:
                del self._definitions[key]
            value = message.value()
            if value is not None:
                try:
                    definition = definitions.decode(value)
                except msgspec.DecodeError as error:
                    log.error("not a definition", key=message.key(), reason=str(error))
                    continue
                self._definitions[key_of(definition)] = definition
        if before == self._definitions:
            return False
        self._compile()
        return True

    def _compile(self) -> None:
        self._matcher = Matcher(self._definitions.values())
        self._projects = sorted({project for project, _, _ in self._definitions})
        self._project_index = KeyIndex()
        names = pa.array(self._projects, pa.string())
        nothing = Texts(np.zeros(len(names) + 1, np.int32), np.empty(0, np.uint8))
        self._project_index.intern(Texts.of(names), nothing, np.arange(len(names)))

    def _take_up_definitions(self, number: int) -> None:
        """Begin with what is new, and end what is not wanted any more."""
        partition = self._partitions[number]
        for key in set(partition.funnels) - set(self._definitions):
            self._logs[number].bury(partition, key)
            self._results.forget(number, partition.funnels.pop(key))
        for key in self._definitions.keys() - partition.funnels.keys():
            funnel = Funnel(self._definitions[key], self._lateness_ms, Backfill())
            funnel.unpublished.add(TOTAL)
            partition.funnels[key] = funnel

    def _log_at(self, now_ms: int) -> int:
        return now_ms + self._settings.checkpoint_interval_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
