"""Funnels on the stream: events in, steps of persons and figures of funnels out.

    avila.events ─▶ match ─▶ fold ─▶ avila.funnel-steps    each change of each person
                               ├───▶ avila.funnels         figures by entry day and in total
                               └───▶ avila.state.funnels   rows, some seconds later

Every partition keeps every funnel. A definition is taken up between two epochs and counts from then
on; one that is changed begins anew, and what its older version left behind is deleted.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import KafkaException

from pipelines import funnel_records
from pipelines.batch import Outbox, Records, TopicPartition
from pipelines.funnel_log import FunnelLog
from pipelines.funnel_partition import EventColumns, Funnel, FunnelPartition
from pipelines.funnel_results import FunnelResults
from pipelines.funnel_state import FunnelState
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

    def connect(self, registry: SchemaRegistry) -> None:
        """Meet the broker; to be called once, before anything else is. Blocks."""
        topics = self._settings.topics
        self._decode = Codec(files.load("event"), registry.find, ours=True).decode
        self._results = FunnelResults(topics, registry, self._outbox)
        self._follower = Follower(self._settings.bootstrap, [topics.definitions.name])
        funnel_records.warm_up()
        FunnelState.warm_up()  # an open transaction would not wait for it

    # ── an epoch's events ────────────────────────────────────────────────────────────────────────

    def fold(self, records: Records) -> None:
        """Fold a batch of the event store; what comes of it is in the outbox when this returns."""
        number = records.source.partition
        partition = self._partitions[number]
        events, matches = self._look(partition, records)
        with stage("funnels: fold"):
            folded = list(partition.fold(events, matches, self._log_at(_now_ms())))
        with stage("funnels: announce"):
            for funnel, changes in folded:
                self._results.steps(number, partition.persons, funnel, changes)
        partition.position = records.next_offset

    def _look(
        self, partition: FunnelPartition, records: Records
    ) -> tuple[EventColumns, dict[FunnelKey, Match]]:
        """Decode a batch and find which of its events concern which funnels."""
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
            return self._matched(partition, records, decoded)

    def _matched(
        self, partition: FunnelPartition, records: Records, decoded: Decoded
    ) -> tuple[EventColumns, dict[FunnelKey, Match]]:
        column = decoded.batch.column
        at = np.asarray(column("timestamp").cast(pa.int64()))
        projects = Texts.of(column("project_id"))
        self._hear(partition, projects, at - records.timestamps[decoded.rows])
        offsets = records.offsets[decoded.rows]
        events = EventColumns(projects, Texts.of(column("person_id")), at, offsets)
        matches = self._matcher.match(projects, Texts.of(column("event")), column("properties"))
        return events, matches

    def _hear(self, partition: FunnelPartition, projects: Texts, ahead: Any) -> None:
        """Let the clocks of the projects know what times their events bear."""
        rows = np.arange(len(ahead))
        nothing = Texts(np.zeros(len(ahead) + 1, np.int32), np.empty(0, np.uint8))
        codes = self._project_index.find(projects, nothing, rows)
        for code in np.unique(codes[codes >= 0]).tolist():
            partition.hear(self._projects[code], int(ahead[codes == code].max()))

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
            state.funnels[key_of(definition)] = Funnel(definition, self._lateness_ms, committed)
        row_log = FunnelLog(
            self._settings.topics.funnel_state.name, number, self._snapshots, self._outbox
        )
        redo_from = yield from row_log.restore(state, committed, reader)
        yield from self._results.restore(number, state, reader)
        due = self._log_at(_now_ms())
        for records in reader.read(TopicPartition(self.source, number), redo_from, committed):
            if records is not None:
                events, matches = self._look(state, records)
                state.redo(events, matches, due)
            yield
        state.restored(committed)
        self._logs[number] = row_log
        self._partitions[number] = state

    def drop(self, partition: int) -> None:
        """Forget a partition, in memory only."""
        self._partitions.pop(partition, None)
        self._logs.pop(partition, None)

    # ── definitions ──────────────────────────────────────────────────────────────────────────────

    def _follow(self, timeout_s: float = 0) -> bool:
        """Read what is new on the definitions topic; tells whether anything differs now."""
        before = dict(self._definitions)
        for message in self._follower.poll(timeout_s):
            project, kind, name = definitions.parse_key(message.key() or b"")
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
            partition.funnels[key] = Funnel(
                self._definitions[key], self._lateness_ms, partition.position
            )
            log.info("funnel live", funnel=key, partition=number, since=partition.position)

    def _log_at(self, now_ms: int) -> int:
        return now_ms + self._settings.checkpoint_interval_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
