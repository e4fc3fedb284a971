"""Encode rows in Avro by hand: `event.avsc` has a fixed layout, so no schema is interpreted.

The bytes equal those that fastavro writes; a test compares them.
"""

from functools import lru_cache
from struct import pack
from typing import Final

from services.ingest.check import Arrival
from services.ingest.events import Row

# The fields below, in the order of `event.avsc`; a test compares them.
LAYOUT: Final = (
    "event_id",
    "project_id",
    "distinct_id",
    "person_id",
    "anonymous_id",
    "session_id",
    "event",
    "timestamp",
    "sent_at",
    "received_at",
    "properties",
    "context",
)

_NULL: Final = b"\x00"  # the first branch of a union with null
_NOT_NULL: Final = b"\x02"  # the second
_EMPTY_TEXT: Final = b"\x00"


class Encoder:
    """Encodes rows in Confluent wire format under one schema id."""

    def __init__(self, schema_id: int) -> None:
        self._header = b"\x00" + pack(">I", schema_id)

    def shared_parts(self, arrival: Arrival) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the bytes that all events of a request share.

        These are the bytes before the event's id, those after it (the project), those after the
        event's time (when it was sent and received), and these for events without a time.
        """
        _, project = _project(arrival.project_id)
        sent_at = _NULL if arrival.sent_at is None else _optional_time(arrival.sent_at)
        received_at = _optional_time(arrival.received_at)
        return self._header, project, sent_at + received_at, _NULL + received_at

    def encode(self, row: Row, received_at: int) -> tuple[bytes, bytes]:
        """Return the record's key, `project:distinct_id`, and its value."""
        event_id = row.event_id.encode()
        distinct_id = row.distinct_id.encode()
        event = row.event.encode()
        key, project = _project(row.project_id)
        value = b"".join(
            (
                self._header,
                _size(event_id),
                event_id,
                project,
                _size(distinct_id),
                distinct_id,
                _EMPTY_TEXT,  # person_id, which the Tracker sets
                _NULL if row.anonymous_id is None else _optional_text(row.anonymous_id),
                _NULL if row.session_id is None else _optional_text(row.session_id),
                _size(event),
                event,
                _long(row.timestamp),
                _NULL if row.sent_at is None else _optional_time(row.sent_at),
                _optional_time(received_at),
                _size(row.properties),
                row.properties,
                _size(row.context),
                row.context,
            )
        )
        return key + distinct_id, value


def _varint(zigzag: int) -> bytes:
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


# All pairs of continued varint bytes, and all varints of at most two bytes.
_GROUPS: Final = tuple(
    bytes((low | 0x80, high | 0x80)) for high in range(128) for low in range(128)
)
_ENDS: Final = tuple(_varint(number) for number in range(1 << 14))


def _long(number: int) -> bytes:
    """Encode a non-negative number as Avro's `long`."""
    zigzag = number << 1
    end = zigzag >> 28
    if 0 < end < 1 << 14:  # a time from 1974 to 2109
        return _GROUPS[zigzag & 0x3FFF] + _GROUPS[zigzag >> 14 & 0x3FFF] + _ENDS[end]
    return _varint(zigzag)


@lru_cache(maxsize=1_024)
def _optional_time(ms: int) -> bytes:
    """Encode an optional time; cached, as many events share it."""
    return _NOT_NULL + _long(ms)


def _size(data: bytes) -> bytes:
    """Encode the length of `data`, which precedes it in Avro."""
    size = len(data)
    return _ENDS[size << 1] if size < 1 << 13 else _varint(size << 1)


def _optional_text(text: str) -> bytes:
    data = text.encode()
    return _NOT_NULL + _size(data) + data


@lru_cache(maxsize=1_024)
def _project(project_id: str) -> tuple[bytes, bytes]:
    """Return the prefix of a project's record keys, and the project as encoded in Avro."""
    data = project_id.encode()
    return data + b":", _size(data) + data
