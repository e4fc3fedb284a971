"""The Tracker: from what senders say to the event store.

    avila.inbox ─▶ read ─▶ check ─▶ seen before? ─▶ avila.events
                     └────────┴──▶ avila.rejected, with the reason

What is accepted has a project, a person, a name, a UUID, properties that are a JSON object and a
time by our clock; and it is there once, however often it was sent within the window.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Headers, Outbox, Records, TopicPartition
from pipelines.tracker import cloudevents
from pipelines.tracker.dedup import SeenIds, read_uuids
from pipelines.worker.snapshots import Meta, Snapshot, Snapshots
from pipelines.worker.tables import Table
from pipelines.worker.telemetry import stage
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.definitions import is_id
from schemas.errors import InvalidRecord
from schemas.identity import identify
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01; older times come from clocks that were never set
MAX_NAME_BYTES: Final = 800  # 200 characters of four bytes
MAX_PROPERTIES: Final = 1_000


class Rejection(NamedTuple):
    """Why a record is not an event."""

    row: int
    reason: str
    detail: str


class Tracker(Table):
    """Checks events and drops repeated ones; the table is the ids that were seen."""

    name = "dedup"
    help = "Ids of the events of the last hours, so that each counts once"

    def __init__(self, settings: Settings, outbox: Outbox) -> None:
        self.source = settings.topics.inbox.name
        self._settings = settings
        self._outbox = outbox
        self._snapshots = Snapshots(settings.snapshot_dir, self.name)
        self._seen: dict[int, SeenIds] = {}

    def connect(self, registry: SchemaRegistry) -> None:
        """Meet the broker; to be called once, before anything else is. Blocks."""
        topics, schema = self._settings.topics, files.load("event")
        registry.register(value_subject(topics.inbox.name), schema)
        schema_id = registry.register(value_subject(topics.events.name), schema)
        self._encode = Encoder(schema, schema_id).encode_column
        self._codec = Codec(schema, registry.find)

    def fold(self, records: Records) -> None:
        """Track a batch of the inbox; what comes of it is in the outbox when this returns."""
        topics = self._settings.topics
        events, rejections = self._track(records)
        with stage("tracker: encode"):
            project, person = _columns(events, "project_id", "person_id")
            keys = pc.binary_join_element_wise(project, person, pa.scalar(":")).cast(pa.binary())
            self._outbox.send(topics.events.name, keys, self._encode(events))
        self._outbox.send(
            topics.rejected.name,
            [records.keys[rejection.row] for rejection in rejections],
            [records.values[rejection.row] for rejection in rejections],
            headers=[_headers(records, rejection) for rejection in rejections],
        )

    def _track(self, records: Records) -> tuple[pa.RecordBatch, list[Rejection]]:
        """The batch's new events, and what is wrong with the others."""
        with stage("tracker: decode"):
            events, rows, rejections = read(self._codec, records)
        with stage("tracker: check"):
            events, wrong = check(events, records.timestamps[rows], self._settings)
        rejections += [Rejection(int(rows[place]), *why) for place, why in wrong.items()]
        sound = np.ones(len(rows), np.bool_)
        sound[list(wrong)] = False
        events, rows = events.filter(sound), rows[sound]
        with stage("tracker: deduplicate"):
            events, ids = _identified(events, records, rows)
            seen = self._seen[records.source.partition]
            new = seen.admit(ids, _hashes(events.column("project_id")), records.timestamps[rows])
        return events if new.all() else events.filter(new), sorted(rejections)

    @property
    def rows(self) -> int:
        """Ids that are remembered."""
        return sum(len(seen) for seen in list(self._seen.values()))

    @property
    def nbytes(self) -> int:
        """The memory they take."""
        return sum(seen.nbytes for seen in list(self._seen.values()))

    # ── the table ────────────────────────────────────────────────────────────────────────────────

    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Read the inbox's own last hours again: it holds every id there is to know."""
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
        """The first record whose id may still count when the source stands at `committed`."""
        newest = 0
        for records in reader.read(source, max(committed - 1_000, 0), committed):
            if records is not None:
                newest = max(newest, int(records.timestamps.max()))
        since = newest - self._settings.dedup_window_s * 1000
        in_window = reader.offset_at(source, since) if since > 0 else 0
        return max(min(in_window, committed), committed - self._settings.dedup_capacity, 0)

    def drop(self, partition: int) -> None:
        """Forget a partition's ids, in memory only."""
        self._seen.pop(partition, None)

    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Nothing to log: the inbox is the log."""

    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:  # noqa: ARG002 (no log to ask)
        """Begin to write a snapshot of every partition."""
        for partition, position in positions.items():
            if partition in self._seen:
                meta = Meta(position=position, logged=0)
                self._snapshots.save(partition, Snapshot(meta, self._seen[partition].dump()))


def read(
    codec: Codec, records: Records
) -> tuple[pa.RecordBatch, NDArray[np.int32], list[Rejection]]:
    """The records that can be read as events, in order, their rows, and what the others are."""
    values = records.values
    foreign = [row for row, value in enumerate(values) if value is not None and value[:1] != b"\0"]
    if not foreign:
        decoded = codec.decode(values)
        return decoded.batch, decoded.rows, [Rejection(*failure) for failure in decoded.failures]
    rejections, read_rows, events = [], [], []
    for row in foreign:
        try:
            events.append(
                cloudevents.parse(
                    values[row] or b"", records.headers(row), int(records.timestamps[row])
                )
            )
            read_rows.append(row)
        except InvalidRecord as error:
            rejections.append(Rejection(row, error.reason, error.detail))
    others = sorted(set(range(len(values))) - set(foreign))
    decoded = codec.decode([values[row] for row in others])
    rejections += [Rejection(others[row], *why) for row, *why in decoded.failures]
    table = pa.Table.from_batches(
        [decoded.batch, pa.RecordBatch.from_pylist(events, schema=codec.arrow)]
    ).combine_chunks()
    rows = np.array([*(others[row] for row in decoded.rows), *read_rows], np.int32)
    order = np.argsort(rows)
    (batch,) = table.take(order).to_batches() or [decoded.batch]
    return batch, rows[order], rejections


def check(
    events: pa.RecordBatch, record_times: Int64s, settings: Settings
) -> tuple[pa.RecordBatch, dict[int, tuple[str, str]]]:
    """Correct the clocks of events, and tell by row what is wrong with those that cannot stand.

    The time an event bears is `received_at - (sent_at - timestamp)`, so that a device's wrong clock
    cancels out; it must be from 2000 on and not further ahead than the allowed skew.
    """
    wrong: dict[int, tuple[str, str]] = {}
    columns: dict[str, ArrowColumn] = dict(zip(events.schema.names, events.columns, strict=True))
    received = _int64s(columns["received_at"], record_times)
    timestamps = _int64s(columns["timestamp"], record_times)
    at = timestamps + received - _int64s(columns["sent_at"], received)
    latest = received + settings.max_future_skew_s * 1000
    for row in np.flatnonzero((at < EARLIEST_MS) | (at > latest)).tolist():
        accepted = f"{EARLIEST_MS} to {latest[row]}, {settings.max_future_skew_s} s after receipt"
        wrong[row] = ("timestamp_out_of_range", f"timestamp: {at[row]}; accepted are {accepted}")
    properties = columns["properties"].to_pylist()
    for row, text in enumerate(properties):
        if text != "{}" and (fault := _fault_of_properties(text)):
            wrong[row] = ("invalid_properties", fault)
    for name, most in _TEXTS.items():
        lengths = np.diff(StringColumn.of(columns[name]).starts)
        for row in np.flatnonzero((lengths == 0) | (lengths > most)).tolist():
            wrong[row] = (
                "invalid_field",
                f"{name}: {lengths[row]} bytes; accepted are 1 to {most}",
            )
    sizes = np.diff(StringColumn.of(columns["properties"]).starts)
    sizes = sizes + np.diff(StringColumn.of(columns["context"]).starts)
    for row in np.flatnonzero(sizes > settings.max_event_bytes).tolist():
        wrong[row] = (
            "too_large",
            f"properties and context: {sizes[row]} bytes; accepted are {settings.max_event_bytes}",
        )
    projects = columns["project_id"].dictionary_encode()
    for code, project in enumerate(projects.dictionary.to_pylist()):
        if not is_id(project):
            fault = f"project_id: {project[:80]!r}; accepted are 1 to 64 letters, digits, . _ and -"
            for row in np.flatnonzero(projects.indices.to_numpy() == code).tolist():
                wrong[row] = ("invalid_field", fault)
    columns["timestamp"] = pa.array(at)
    columns["received_at"] = pa.array(received)
    columns["person_id"] = pc.if_else(
        pc.equal(columns["person_id"], pa.scalar("")), columns["distinct_id"], columns["person_id"]
    )
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), wrong


_TEXTS: Final = {"distinct_id": MAX_NAME_BYTES, "event": MAX_NAME_BYTES}
_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _fault_of_properties(text: str) -> str:
    try:
        count = len(_read_object(text))
    except (msgspec.DecodeError, RecursionError) as error:
        return f"properties: {error}; accepted is a JSON object"
    if count > MAX_PROPERTIES:
        return f"properties: {count} of them; accepted are {MAX_PROPERTIES}"
    return ""


def _int64s(column: ArrowColumn, absent: Int64s) -> Int64s:
    """A column of milliseconds, with `absent` in the place of nulls."""
    numbers = column.cast(pa.int64())
    if numbers.null_count:
        numbers = pc.coalesce(numbers, pa.array(absent))
    return np.asarray(numbers)


def _identified(
    events: pa.RecordBatch, records: Records, rows: NDArray[np.int32]
) -> tuple[pa.RecordBatch, UInt64s]:
    """The events with the UUIDs that name them, and those as numbers.

    An event without an id is named after the place of its record, so that it is the same event when
    the record is read again.
    """
    column, projects = _columns(events, "event_id", "project_id")
    ids, sound = np.empty((len(rows), 2), np.uint64), np.empty(len(rows), np.bool_)
    read_uuids(*StringColumn.of(column), ids, sound)
    if sound.all():
        return events, ids
    texts = column.to_pylist()
    for row in np.flatnonzero(~sound).tolist():
        place = f"{records.source.topic}/{records.source.partition}/{records.offsets[rows[row]]}"
        texts[row], _ = identify(texts[row] or place, projects[row].as_py())
    column = pa.array(texts, pa.string())
    read_uuids(*StringColumn.of(column), ids, sound)
    place_of_ids = events.schema.get_field_index("event_id")
    return events.set_column(place_of_ids, "event_id", column), ids


def _hashes(projects: ArrowColumn) -> UInt64s:
    encoded = projects.dictionary_encode()
    hashes = [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        for name in encoded.dictionary.to_pylist()
    ]
    spread: UInt64s = np.array(hashes, np.uint64)[encoded.indices.to_numpy()]
    return spread


def _columns(events: pa.RecordBatch, *names: str) -> list[ArrowColumn]:
    return [events.column(name) for name in names]


def _headers(records: Records, rejection: Rejection) -> Headers:
    """What was wrong, and where the record came from; its own headers follow."""
    return [
        ("reason", rejection.reason),
        ("detail", rejection.detail[:1_000]),
        ("topic", records.source.topic),
        ("partition", str(records.source.partition)),
        ("offset", str(records.offsets[rejection.row])),
        ("rejected_at", str(time.time_ns() // 1_000_000)),
        *records.headers(rejection.row),
    ]
