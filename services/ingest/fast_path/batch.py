"""Checks and encodes the plain events of a request together, in a fraction of the time.

What is plain, `services.ingest.fast_path.encode` tells; most requests have nothing else.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import astuple

from pipelines.columnar.jit import Int64s
from pipelines.kafka.bulk_producer import RecordColumns
from services.ingest.check import LEAST_PROPERTY_BYTES, Arrival
from services.ingest.encode import Encoder
from services.ingest.events import Event, Time, Unreadable
from services.ingest.fast_path.columns import (
    ANONYMOUS_ID,
    COLUMNS,
    CONTEXT,
    DISTINCT_ID,
    EVENT,
    EVENT_ID,
    NONE,
    NOW,
    PROPERTIES,
    SESSION_ID,
    TIME,
    Columns,
)
from services.ingest.fast_path.encode import OVERHEAD, Most, Shared, write_rows
from services.ingest.fast_path.scan import scan
from services.ingest.limits import Limits

# A call takes as long as this many events take one by one.
WORTH: Final = 12


class PlainEncoder:
    """Encodes as `check` and `Encoder` do together, and leaves out what is not plain.

    The first one to be made on a machine takes seconds: what it calls is compiled then.
    """

    def __init__(self, encoder: Encoder, limits: Limits) -> None:
        self._encoder = encoder
        self._most = Most(
            limits.max_name_chars,
            limits.max_id_chars,
            LEAST_PROPERTY_BYTES * limits.max_properties,
            limits.max_depth,
            limits.max_event_bytes,
        )
        if columns := scan(msgspec.Raw(b'[{"event":"","distinct_id":"","event_id":""}]')):
            self.encode(columns, Arrival("", None, None, 0, ""))

    def encode(self, columns: Columns, arrival: Arrival) -> RecordColumns:
        """The record of each event that is plain: it would be the same one by one, and no warning.

        The others are missing; all are, where a request as a whole is not plain.
        """
        count = len(columns.times)
        if arrival.warning or (arrival.named or arrival.project_id) != arrival.project_id:
            return missing(count)
        key = f"{arrival.project_id}:".encode()
        shared = _shared(key, *self._encoder.shared(arrival))
        room = 2 * len(columns.data)  # the distinct id stands twice
        out = np.empty(room + count * (sum(map(len, shared)) + OVERHEAD), np.uint8)
        splits = np.empty(count, np.int64)
        ends = np.empty(count + 1, np.int64)
        ends[0] = 0
        write_rows(
            np.frombuffer(columns.data, np.uint8),
            columns.begins,
            columns.sizes,
            columns.times,
            arrival.received_at,
            shared,
            self._most,
            out,
            splits,
            ends[1:],
        )
        return RecordColumns(out, ends[:-1], splits, ends[1:])


def columns_of(events: Sequence[Event | Unreadable], project_id: str) -> Columns | None:
    """The columns of `events`; None if one has what no column is for, or belongs elsewhere."""
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
    if not _is_utf8(data):  # each object is in closed JSON strings, so all are if all together is
        return None
    ends = np.cumsum(sizes).reshape(sizes.shape)
    return Columns(
        data,
        np.ascontiguousarray((ends - sizes).T),
        np.ascontiguousarray(sizes.T),
        np.array(list(map(_number, times)) if is_mixed else [NONE] * len(times), np.int64),
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
    """All texts in UTF-8; and into `sizes`, how many bytes each has."""
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
    """What stands for a time that is no text, or for one that is."""
    if time is None:
        return NOW
    return time if type(time) is int and 0 <= time < 1 << 62 else NONE


def missing(count: int) -> RecordColumns:
    """So many records that are missing."""
    nowhere = np.zeros(count, np.int64)
    return RecordColumns(np.empty(0, np.uint8), nowhere, nowhere, nowhere)


def _shared(*parts: bytes) -> Shared:
    return Shared(*(np.frombuffer(part, np.uint8) for part in parts))
