"""The Tracker: from records on the inbox to the event store.

    avila.inbox ─▶ decode ─▶ validate ─▶ seen before? ─▶ avila.events
                     └──────────┴──▶ avila.rejected, with the reason

An event in the store has a project, a person, a name, a UUID, properties that are a JSON object and
a time by our clock. It is stored once, however often it is sent within the window: the same id of
the same `distinct_id` is the same event.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columnar.string_column import ArrowColumn
from pipelines.kafka.avro_values import ValueDecoder
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.tracker.clock_kernel import COLUMNS
from pipelines.tracker.clocks import ROWS, DeviceClocks
from pipelines.tracker.decode import Decoded, decode
from pipelines.tracker.dedup import BYTES_PER_ID, SeenIds
from pipelines.tracker.dedup_coverage import CoverageReport
from pipelines.tracker.rejections import Rejection
from pipelines.tracker.validate import identify_events, validate
from pipelines.worker.snapshots import Meta, Snapshot, Snapshots
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.definitions import is_id
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

# What snapshots hold. Those with other contents are ignored: the inbox has what is needed.
_CONTENTS: Final = f"ids by person, clocks of {ROWS} rows and {COLUMNS} columns"


class Tracker(Table):
    """Validates events, corrects clocks and drops duplicates; its rows are the ids it has seen."""

    name = "dedup"
    help = "Ids of the events of the last hours, so that each counts once"

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.source = settings.topics.inbox.name
        self.outputs = (settings.topics.events.name,)
        self._settings = settings
        self._outbox = outbox
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._seen: dict[int, SeenIds] = {}
        self._clocks: dict[int, DeviceClocks] = {}
        self._coverage = CoverageReport(settings.dedup_window_s * 1000)

    def connect(self, registry: SchemaRegistry) -> None:
        """Register the schemas; call it once, before any other method. Blocks."""
        topics, schema = self._settings.topics, files.load("event")
        registry.register(value_subject(topics.inbox.name), schema)
        schema_id = registry.register(value_subject(topics.events.name), schema)
        self._encode = Encoder(schema, schema_id).encode_column
        self._decoder = ValueDecoder(schema, registry.find)

    def fold(self, records: Records) -> None:
        """Track a batch of the inbox: put its events and rejections into the outbox."""
        topics = self._settings.topics
        events, rows, rejections = self._track(records)
        with stage("tracker: encode"):
            keys = _keys(events.column("project_id"), events.column("person_id"))
            refused = self._outbox.send(topics.events.name, keys, self._encode(events))
        rejections += [Rejection(int(rows[one.row]), "too_large", str(one)) for one in refused]
        rejected = [rejection.record(records) for rejection in sorted(rejections)]
        self._outbox.send(
            topics.rejected.name,
            [record.key for record in rejected],
            [record.value for record in rejected],
            headers=[record.headers for record in rejected],
        )

    def _track(self, records: Records) -> Decoded:
        """Return the batch's new events, their rows, and why its other records are not events."""
        with stage("tracker: decode"):
            events, rows, rejections = decode(self._decoder, records)
        with stage("tracker: check"):
            clocks = self._clocks[records.source.partition]
            events, faults = validate(events, records.timestamps[rows], self._settings, clocks)
        projects = events.column("project_id")
        for row, fault in faults.items():
            project = projects[row].as_py()
            known = project if is_id(project) else ""
            rejections.append(Rejection(int(rows[row]), fault.reason, fault.detail, known))
        valid = np.ones(len(rows), np.bool_)
        valid[list(faults)] = False
        events, rows = events.filter(valid), rows[valid]
        with stage("tracker: deduplicate"):
            events, ids = identify_events(events, records, rows)
            seen = self._seen[records.source.partition]
            new = seen.admit(ids, events.column("project_id"), records.timestamps[rows])
        return Decoded(events.filter(new), rows[new], rejections)

    @property
    def rows(self) -> int:
        """The number of ids that are remembered."""
        return sum(len(seen) for seen in list(self._seen.values()))

    @property
    def nbytes(self) -> int:
        """The memory that they and the clocks of devices take, in bytes."""
        ids = sum(seen.nbytes for seen in list(self._seen.values()))
        return ids + sum(clocks.nbytes for clocks in list(self._clocks.values()))

    # ── the table ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore ids and clocks from the snapshot and the last hours of the inbox, in steps."""
        source = TopicPartition(self.source, partition)
        self._seen.pop(partition, None)
        capacity = self._capacity(len(self._seen) + 1)
        seen = SeenIds(self._settings.dedup_window_s * 1000, capacity)
        self._seen[partition] = seen
        clocks = self._clocks[partition] = DeviceClocks(self._settings)
        self._share_memory()
        snapshot = self._snapshots.load(partition)
        window_begin = begin = 0
        if (
            snapshot is not None
            and snapshot.meta.position <= committed
            and snapshot.meta.about.get("contents") == _CONTENTS
        ):
            seen.load(snapshot.columns)
            clocks.load(snapshot.columns)
            begin = snapshot.meta.position
        else:
            window_begin = self._window_begin(source, committed, reader)
            begin = max(window_begin, committed - capacity)
        for records in reader.read(source, begin, committed):
            if records is not None:
                if begin > window_begin > 0:
                    seen.forget_before(int(records.timestamps[0]))
                    window_begin = 0
                self._track(records)
            yield

    def _share_memory(self) -> None:
        """Give each partition an equal share of the memory."""
        for seen in self._seen.values():
            seen.resize(self._capacity(len(self._seen)))

    def _capacity(self, partitions: int) -> int:
        """Return how many ids each of some partitions may remember."""
        return self._settings.dedup_memory_mb * 1_000_000 // BYTES_PER_ID // max(partitions, 1)

    def _window_begin(self, source: TopicPartition, committed: int, reader: Reader) -> int:
        """Return the first offset in the window that ends at offset `committed`."""
        newest = 0
        for records in reader.read(source, max(committed - 1_000, 0), committed):
            if records is not None:
                newest = max(newest, int(records.timestamps.max()))
        since = newest - self._settings.dedup_window_s * 1000
        in_window = reader.offset_at(source, since) if since > 0 else 0
        return min(in_window, committed)

    def drop(self, partition: int) -> None:
        """Drop the ids and clocks of a partition, in memory only."""
        self._seen.pop(partition, None)
        self._clocks.pop(partition, None)
        self._share_memory()

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:  # noqa: ARG002 (nothing is logged)
        """Report how far back the ids are known; nothing is logged: the inbox is the log."""
        changes = self._coverage.report(
            {partition: seen.covered_ms for partition, seen in self._seen.items()}, now_ms
        )
        self._outbox.send(self._settings.topics.dedup.name, list(changes), list(changes.values()))

    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:  # noqa: ARG002 (there is no changelog to read)
        """Begin to write a snapshot of every partition."""
        for partition, position in positions.items():
            if partition in self._seen:
                meta = Meta(position=position, logged=0, about={"contents": _CONTENTS})
                columns = self._seen[partition].dump() | self._clocks[partition].dump()
                self._snapshots.save(partition, Snapshot(meta, columns))


def _keys(projects: ArrowColumn, persons: ArrowColumn) -> ArrowColumn:
    """Return the keys of the event store's records: `project:person`."""
    return pc.binary_join_element_wise(projects, persons, pa.scalar(":")).cast(pa.binary())
