"""The Tracker: from records on the inbox to the event store.

    avila.inbox ─▶ decode ─▶ validate ─▶ seen before? ─▶ avila.events
                     └──────────┴──▶ avila.rejected, with the reason

An event in the store has a project, a person, a name, a UUID, properties that are a JSON object and
a time by our clock. It is stored once, however often it is sent within the window.
"""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columnar.jit import UInt64s
from pipelines.columnar.string_column import ArrowColumn
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.tracker.decode import decode
from pipelines.tracker.dedup import SeenIds
from pipelines.tracker.rejections import Rejection, headers_of
from pipelines.tracker.validate import identify_events, validate
from pipelines.worker.snapshots import Meta, Snapshot, Snapshots
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings


class Tracker(Table):
    """Validates events and drops duplicates; its rows are the ids that it has seen."""

    name = "dedup"
    help = "Ids of the events of the last hours, so that each counts once"

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.source = settings.topics.inbox.name
        self._settings = settings
        self._outbox = outbox
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._seen: dict[int, SeenIds] = {}

    def connect(self, registry: SchemaRegistry) -> None:
        """Register the schemas; call it once, before any other method. Blocks."""
        topics, schema = self._settings.topics, files.load("event")
        registry.register(value_subject(topics.inbox.name), schema)
        schema_id = registry.register(value_subject(topics.events.name), schema)
        self._encode = Encoder(schema, schema_id).encode_column
        self._codec = Codec(schema, registry.find)

    def fold(self, records: Records) -> None:
        """Track a batch of the inbox: put its events and rejections into the outbox."""
        topics = self._settings.topics
        events, rejections = self._track(records)
        with stage("tracker: encode"):
            project: ArrowColumn = events.column("project_id")
            person: ArrowColumn = events.column("person_id")
            keys = pc.binary_join_element_wise(project, person, pa.scalar(":")).cast(pa.binary())
            self._outbox.send(topics.events.name, keys, self._encode(events))
        self._outbox.send(
            topics.rejected.name,
            [records.keys[rejection.row] for rejection in rejections],
            [records.values[rejection.row] for rejection in rejections],
            headers=[headers_of(records, rejection) for rejection in rejections],
        )

    def _track(self, records: Records) -> tuple[pa.RecordBatch, list[Rejection]]:
        """Return the batch's new events, and why its other records are not events."""
        with stage("tracker: decode"):
            events, rows, rejections = decode(self._codec, records)
        with stage("tracker: check"):
            events, faults = validate(events, records.timestamps[rows], self._settings)
        for row, fault in faults.items():
            rejections.append(Rejection(int(rows[row]), fault.reason, fault.detail))
        valid = np.ones(len(rows), np.bool_)
        valid[list(faults)] = False
        events, rows = events.filter(valid), rows[valid]
        with stage("tracker: deduplicate"):
            events, ids = identify_events(events, records, rows)
            seen = self._seen[records.source.partition]
            new = seen.admit(ids, _hashes(events.column("project_id")), records.timestamps[rows])
        return events if new.all() else events.filter(new), sorted(rejections)

    @property
    def rows(self) -> int:
        """The number of ids that are remembered."""
        return sum(len(seen) for seen in list(self._seen.values()))

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes."""
        return sum(seen.nbytes for seen in list(self._seen.values()))

    # ── the table ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore the ids from the snapshot and the last hours of the inbox, in steps."""
        source = TopicPartition(self.source, partition)
        seen = SeenIds(self._settings.dedup_window_s * 1000, self._settings.dedup_capacity)
        self._seen[partition] = seen
        snapshot = self._snapshots.load(partition)
        if snapshot is not None and snapshot.meta.position <= committed:
            seen.load(snapshot.columns)
            begin = snapshot.meta.position
        else:
            begin = self._window_begin(source, committed, reader)
        for records in reader.read(source, begin, committed):
            if records is not None:
                self._track(records)
            yield

    def _window_begin(self, source: TopicPartition, committed: int, reader: Reader) -> int:
        """Return the first offset whose id may still be remembered at offset `committed`."""
        newest = 0
        for records in reader.read(source, max(committed - 1_000, 0), committed):
            if records is not None:
                newest = max(newest, int(records.timestamps.max()))
        since = newest - self._settings.dedup_window_s * 1000
        in_window = reader.offset_at(source, since) if since > 0 else 0
        return max(min(in_window, committed), committed - self._settings.dedup_capacity, 0)

    def drop(self, partition: int) -> None:
        """Drop the ids of a partition, in memory only."""
        self._seen.pop(partition, None)

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Do nothing: the inbox is the log."""

    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:  # noqa: ARG002 (there is no changelog to read)
        """Begin to write a snapshot of every partition."""
        for partition, position in positions.items():
            if partition in self._seen:
                meta = Meta(position=position, logged=0)
                self._snapshots.save(partition, Snapshot(meta, self._seen[partition].dump()))


def _hashes(projects: ArrowColumn) -> UInt64s:
    """Return a stable 64-bit hash of each project."""
    encoded = projects.dictionary_encode()
    hashes = [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        for name in encoded.dictionary.to_pylist()
    ]
    by_row: UInt64s = np.array(hashes, np.uint64)[encoded.indices.to_numpy()]
    return by_row
