"""Decides about the events of one batch: their clocks, persons and ids, and which are not valid.

Functions of the batch, the settings and the clocks of devices that earlier records have shown, so
that a batch that is read again gives the same events. Whatever Kafka, memory or time of day have to
say is for `pipelines.tracker.tracker`.
"""

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columnar.jit import Int32s, Int64s, UInt64s
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.kafka.records import Records
from pipelines.tracker.clocks import DeviceClocks
from pipelines.tracker.properties import check_properties
from pipelines.tracker.uuids import add_person, read_uuids
from schemas.definitions import is_id
from schemas.errors import InvalidRecord
from schemas.identity import identify
from schemas.settings import Settings
from schemas.time.plausible import EARLIEST_MS, seen_unit
from schemas.time.rfc3339 import write_time

MAX_NAME_BYTES: Final = 800  # 200 characters of four bytes

_NAMES: Final = ("distinct_id", "event")
_OPTIONAL_NAMES: Final = ("person_id", "anonymous_id", "session_id")


class Validated(NamedTuple):
    """The events with corrected columns, and by row what is wrong with those that are not valid."""

    events: pa.RecordBatch
    faults: dict[int, InvalidRecord]


def validate(
    events: pa.RecordBatch, record_times: Int64s, settings: Settings, clocks: DeviceClocks
) -> Validated:
    """Correct the clocks of events, decide their persons, and find the events that are not valid.

    `clocks` are those of the partition's devices, and learn from these events. `record_times` are
    the Kafka timestamps of the events' records in Unix milliseconds. A row with several faults has
    the last one found.
    """
    columns: dict[str, ArrowColumn] = dict(zip(events.schema.names, events.columns, strict=True))
    tolerance = settings.clock_tolerance_s * 1000
    received = receipt_times(columns["received_at"], record_times, tolerance)
    timestamps = _int64s(columns["timestamp"], record_times)
    timestamps = clocks.correct(columns, timestamps, received, record_times)
    columns["properties"], property_faults = check_properties(columns["properties"])
    faults = {
        **_time_faults(timestamps, received, settings.max_future_skew_s),
        **property_faults,
        **_name_faults(columns),
        **_size_faults(columns, settings.max_event_bytes),
        **_project_faults(columns["project_id"]),
    }
    columns["timestamp"] = pa.array(timestamps)
    columns["received_at"] = pa.array(received)
    columns["person_id"] = person_ids(columns)
    valid = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return Validated(valid, faults)


def person_ids(columns: dict[str, ArrowColumn]) -> ArrowColumn:
    """Decide which person each event belongs to: the one place where that is decided.

    It is the person that the event names, else its `distinct_id`.
    """
    named = columns["person_id"]
    return pc.if_else(pc.equal(named, pa.scalar("")), columns["distinct_id"], named)


def receipt_times(column: ArrowColumn, record_times: Int64s, tolerance: int) -> Int64s:
    """Return when the events were received: as they say, but not after Kafka took their records.

    Whoever writes to the inbox states `received_at`, and what may lie in the future depends on it:
    a receipt in the future would close the windows of a whole project. `tolerance` is by how many
    milliseconds the clocks of a door and of Kafka may differ, so that the Tracker judges by the
    same time as the door did.
    """
    received = _int64s(column, record_times)
    # A record without a timestamp bounds nothing.
    is_ahead = (record_times > 0) & (received > record_times + tolerance)
    return np.where(is_ahead, record_times, received)


def identify_events(
    events: pa.RecordBatch, records: Records, rows: Int32s
) -> tuple[pa.RecordBatch, UInt64s]:
    """Return the events with UUIDs as `event_id`, and what makes each unique in its project.

    That is the UUID and the `distinct_id`, as two numbers of 64 bits: shape (n, 2). The UUID of an
    event without one is derived from the place of its record, so that the event has the same one
    when the record is read again.
    """
    column, projects = events.column("event_id"), events.column("project_id")
    persons = StringColumn.of(events.column("distinct_id"))
    ids, canonical = np.empty((len(rows), 2), np.uint64), np.empty(len(rows), np.bool_)
    read_uuids(*StringColumn.of(column), ids, canonical)
    if canonical.all():
        add_person(*persons, ids)
        return events, ids
    texts = column.to_pylist()
    for row in np.flatnonzero(~canonical).tolist():
        place = f"{records.source.topic}/{records.source.partition}/{records.offsets[rows[row]]}"
        texts[row], _ = identify(texts[row] or place, projects[row].as_py())
    column = pa.array(texts, pa.string())
    read_uuids(*StringColumn.of(column), ids, canonical)
    add_person(*persons, ids)
    index = events.schema.get_field_index("event_id")
    return events.set_column(index, "event_id", column), ids


def _time_faults(timestamps: Int64s, received: Int64s, max_skew_s: int) -> dict[int, InvalidRecord]:
    latest = received + max_skew_s * 1000
    return {
        row: InvalidRecord(
            "timestamp_out_of_range",
            f"timestamp: {_text(int(timestamps[row]))}; accepted are {write_time(EARLIEST_MS)} to "
            f"{write_time(int(latest[row]))}, {max_skew_s} s after receipt",
        )
        for row in np.flatnonzero((timestamps < EARLIEST_MS) | (timestamps > latest)).tolist()
    }


def _text(ms: int) -> str:
    unit = seen_unit(ms)
    return f"{ms}{unit}" if unit else write_time(ms)


def _name_faults(columns: dict[str, ArrowColumn]) -> dict[int, InvalidRecord]:
    faults = {}
    for name in _NAMES:
        lengths = _lengths(columns[name])
        for row in np.flatnonzero((lengths == 0) | (lengths > MAX_NAME_BYTES)).tolist():
            detail = f"{name}: {lengths[row]} bytes; accepted are 1 to {MAX_NAME_BYTES}"
            faults[row] = InvalidRecord("invalid_field", detail)
    for name in _OPTIONAL_NAMES:
        lengths = _lengths(pc.fill_null(columns[name], ""))
        for row in np.flatnonzero(lengths > MAX_NAME_BYTES).tolist():
            detail = f"{name}: {lengths[row]} bytes; accepted are at most {MAX_NAME_BYTES}"
            faults[row] = InvalidRecord("invalid_field", detail)
    return faults


def _size_faults(columns: dict[str, ArrowColumn], max_bytes: int) -> dict[int, InvalidRecord]:
    sizes = _lengths(columns["properties"]) + _lengths(columns["context"])
    return {
        row: InvalidRecord(
            "too_large", f"properties and context: {sizes[row]} bytes; accepted are {max_bytes}"
        )
        for row in np.flatnonzero(sizes > max_bytes).tolist()
    }


def _project_faults(column: ArrowColumn) -> dict[int, InvalidRecord]:
    faults = {}
    projects = column.dictionary_encode()
    codes = projects.indices.to_numpy()
    for code, project in enumerate(projects.dictionary.to_pylist()):
        if not is_id(project):
            accepted = "accepted are 1 to 64 letters, digits, . _ and -"
            detail = f"project_id: {project[:80]!r}; {accepted}"
            for row in np.flatnonzero(codes == code).tolist():
                faults[row] = InvalidRecord("invalid_field", detail)
    return faults


def _lengths(column: ArrowColumn) -> Int32s:
    """Return the length of each string in bytes."""
    return np.diff(StringColumn.of(column).starts)


def _int64s(column: ArrowColumn, absent: Int64s) -> Int64s:
    """Return a column of milliseconds, with `absent` in place of nulls."""
    numbers = column.cast(pa.int64())
    if numbers.null_count:
        numbers = pc.coalesce(numbers, pa.array(absent))
    return np.asarray(numbers)
