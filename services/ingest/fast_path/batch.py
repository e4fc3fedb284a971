"""Check and encode the usual events of a request together, at a fraction of the cost.

`services.ingest.fast_path.encode` defines which events are usual; most requests have no others.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import astuple

from pipelines.columnar.canonical_json import scratch
from pipelines.columnar.jit import Int64s
from pipelines.kafka.bulk_producer import RecordColumns
from services.ingest.check import MIN_PROPERTY_BYTES, Arrival
from services.ingest.encode import Encoder
from services.ingest.events import Event, Time, Unreadable
from services.ingest.fast_path.columns import (
    ANONYMOUS_ID,
    COLUMNS,
    CONTEXT,
    DISTINCT_ID,
    EVENT,
    EVENT_ID,
    ON_ARRIVAL,
    PROPERTIES,
    SESSION_ID,
    TIME,
    UNREAD,
    Columns,
)
from services.ingest.fast_path.encode import OVERHEAD, FastPathLimits, SharedParts, write_records
from services.ingest.fast_path.scan import scan
from services.ingest.limits import Limits

# One kernel call costs as much as checking this many events one by one.
MIN_BATCH: Final = 12


class FastEncoder:
    """Encodes as `check` and `Encoder` together do, and leaves out events that need thought.

    The first instance on a machine takes seconds, as it compiles the kernels.
    """

    def __init__(self, encoder: Encoder, limits: Limits) -> None:
        self._encoder = encoder
        self._scratch = scratch()
        self._limits = FastPathLimits(
            limits.max_name_chars,
            limits.max_id_chars,
            MIN_PROPERTY_BYTES * limits.max_properties,
            limits.max_depth,
            limits.max_event_bytes,
            limits.max_event_age_days * 86_400_000,
            limits.max_future_skew_s * 1_000,
        )
        self._tolerance = limits.clock_tolerance_s * 1_000
        if columns := scan(msgspec.Raw(b'[{"event":"","distinct_id":"","event_id":""}]')):
            self.encode(columns, Arrival("", None, None, 0, ""))

    def encode(self, columns: Columns, arrival: Arrival) -> RecordColumns:
        """Return one record per event; the records of events that need thought are empty.

        A record equals what `check` and `Encoder` return for the event, without any warning. All
        are empty if the request as a whole needs thought.
        """
        count = len(columns.times)
        is_wrong_clock = (
            arrival.sent_at is not None
            and abs(arrival.received_at - arrival.sent_at) > self._tolerance
        )
        is_elsewhere = (arrival.named_project or arrival.project_id) != arrival.project_id
        if arrival.warning or is_wrong_clock or is_elsewhere:
            return empty_records(count)
        key = f"{arrival.project_id}:".encode()
        shared = _shared_parts(key, *self._encoder.shared_parts(arrival))
        fields_size = 2 * len(columns.data)  # the distinct id is in the key and in the value
        out = np.empty(fields_size + count * (sum(map(len, shared)) + OVERHEAD), np.uint8)
        splits = np.empty(count, np.int64)
        ends = np.empty(count + 1, np.int64)
        ends[0] = 0
        write_records(
            np.frombuffer(columns.data, np.uint8),
            columns.begins,
            columns.sizes,
            columns.times,
            arrival.received_at,
            shared,
            self._limits,
            self._scratch,
            out,
            splits,
            ends[1:],
        )
        return RecordColumns(out, ends[:-1], splits, ends[1:])


def columns_of(events: Sequence[Event | Unreadable], project_id: str) -> Columns | None:
    """Return the columns of `events`.

    None if one of them is unreadable, names another project, or has a `sent_at` of its own.
    """
    given = [astuple(event) for event in events if isinstance(event, Event)]
    if not given or len(given) < len(events):
        return None
    fields = dict(zip(Event.__struct_fields__, zip(*given, strict=True), strict=True))
    if any(time is not None for time in fields["sent_at"]):
        return None
    if not {None, "", project_id}.issuperset(fields["project_id"]):
        return None
    times = fields["timestamp"]
    if is_mixed := not all(type(time) is str for time in times):
        fields["timestamp"] = tuple(time if type(time) is str else "" for time in times)
    sizes = np.zeros((COLUMNS, len(given)), np.int64)
    try:
        parts = [_join(fields[name], sizes[column]) for name, column in _TEXTS.items()]
    except UnicodeError:
        return None
    for name, column in _OBJECTS.items():
        objects = list(map(bytes, fields[name]))
        sizes[column] = _sizes(objects)
        parts += objects
    data = b"".join(parts)
    # Each object is valid JSON, so no character can span two of them: checking the whole suffices.
    if not _is_utf8(data):
        return None
    ends = np.cumsum(sizes).reshape(sizes.shape)
    return Columns(
        data,
        np.ascontiguousarray((ends - sizes).T),
        np.ascontiguousarray(sizes.T),
        np.array(list(map(_number, times)) if is_mixed else [UNREAD] * len(times), np.int64),
    )


_TEXTS: Final = {
    "event": EVENT,
    "distinct_id": DISTINCT_ID,
    "event_id": EVENT_ID,
    "timestamp": TIME,
    "anonymous_id": ANONYMOUS_ID,
    "session_id": SESSION_ID,
}
_OBJECTS: Final = {"properties": PROPERTIES, "context": CONTEXT}


def _join(texts: Sequence[str | None], sizes: Int64s) -> bytes:
    """Return all texts in UTF-8, joined, and write the size of each into `sizes`."""
    filled = [text or "" for text in texts]
    joined = "".join(filled)
    if not joined:
        return b""
    data = joined.encode()
    sizes[:] = _sizes(filled if len(data) == len(joined) else [text.encode() for text in filled])
    return data


def _sizes(parts: Sequence[str] | Sequence[bytes]) -> Int64s:
    return np.fromiter(map(len, parts), np.int64, len(parts))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeError:
        return False
    return True


def _number(time: Time) -> int:
    """Return the entry of `Columns.times` for a time."""
    if time is None:
        return ON_ARRIVAL
    return time if type(time) is int and 0 <= time < 1 << 62 else UNREAD


def empty_records(count: int) -> RecordColumns:
    """Return `count` empty records."""
    zeros = np.zeros(count, np.int64)
    return RecordColumns(np.empty(0, np.uint8), zeros, zeros, zeros)


def _shared_parts(*parts: bytes) -> SharedParts:
    return SharedParts(*(np.frombuffer(part, np.uint8) for part in parts))
