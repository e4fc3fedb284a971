"""Checks and encodes the plain events of a request together, in a fraction of the time.

What is plain, `services.ingest.plain_rows` tells; most requests have nothing else.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np

from pipelines.bulk_producer import Records
from pipelines.kernel import Int64s
from services.ingest.check import LEAST_PROPERTY_BYTES, Arrival
from services.ingest.columns import COLUMNS, NONE, NOW, Columns
from services.ingest.encode import Encoder
from services.ingest.events import Event, Time, Unreadable
from services.ingest.limits import Limits
from services.ingest.plain_rows import OVERHEAD, Most, Shared, write_rows
from services.ingest.scan import scan

# A call takes as long as this many events take one by one.
WORTH: Final = 12

_names = attrgetter("event")
_distinct_ids = attrgetter("distinct_id")


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

    def encode(self, columns: Columns, arrival: Arrival) -> Records:
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
        return Records(out, ends[:-1], splits, ends[1:])


def columns_of(events: Sequence[Event | Unreadable], project_id: str) -> Columns | None:
    """The columns of `events`; None if one has what no column is for, or belongs elsewhere."""
    given = [event for event in events if isinstance(event, Event)]
    if len(given) < len(events) or any(
        event.sent_at is not None or (event.project_id or project_id) != project_id
        for event in given
    ):
        return None
    times = [event.timestamp for event in given]
    texts = [
        *map(_names, given),
        *map(_distinct_ids, given),
        *[event.event_id or "" for event in given],
        *[time if type(time) is str else "" for time in times],
        *[event.anonymous_id or "" for event in given],
        *[event.session_id or "" for event in given],
    ]
    objects = [bytes(event.properties) for event in given]
    objects += [bytes(event.context) for event in given]
    data = b"".join(objects)
    try:
        data.decode()  # each is in closed JSON strings, so all are if all together is
        text, sizes = _joined(texts)
    except UnicodeError:
        return None
    sizes = np.concatenate([sizes, _sizes(objects)])
    begins = np.cumsum(sizes) - sizes
    shape = COLUMNS, len(given)
    return Columns(
        text + data,
        np.ascontiguousarray(begins.reshape(shape).T),
        np.ascontiguousarray(sizes.reshape(shape).T),
        np.array([_time(time) for time in times], np.int64),
    )


def _joined(texts: list[str]) -> tuple[bytes, Int64s]:
    """All texts in UTF-8, and how many bytes each has."""
    joined = "".join(texts)
    if joined.isascii():
        return joined.encode(), _sizes(texts)
    parts = [text.encode() for text in texts]
    return b"".join(parts), _sizes(parts)


def _sizes(parts: Iterable[str] | Iterable[bytes]) -> Int64s:
    return np.array(list(map(len, parts)), np.int64)


def _time(time: Time) -> int:
    if time is None:
        return NOW
    return time if type(time) is int and 0 <= time < 1 << 62 else NONE


def missing(count: int) -> Records:
    """So many records that are missing."""
    nowhere = np.zeros(count, np.int64)
    return Records(np.empty(0, np.uint8), nowhere, nowhere, nowhere)


def _shared(*parts: bytes) -> Shared:
    return Shared(*(np.frombuffer(part, np.uint8) for part in parts))
