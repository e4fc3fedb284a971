"""Joins the Avro datum of a row by hand: `event.avsc` is a fixed layout, so no schema is walked.

Equal, byte for byte, to what fastavro writes; a test holds the two together.
"""

from functools import lru_cache
from struct import pack
from typing import Final

from services.ingest.check import Arrival
from services.ingest.events import Row

# What the hand-written layout below stands for, in the order of `event.avsc`.
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
        self._head = b"\x00" + pack(">I", schema_id)

    def shared(self, arrival: Arrival) -> tuple[bytes, bytes, bytes]:
        """What the data of all events of a request have in common.

        It stands before the event's id, behind that, and behind the event's time.
        """
        _, project = _project(arrival.project_id)
        sent_at = _NULL if arrival.sent_at is None else _shared_time(arrival.sent_at)
        return self._head, project, sent_at + _shared_time(arrival.received_at)

    def encode(self, row: Row, received_at: int) -> tuple[bytes, bytes]:
        """Return the record's key, `project:distinct_id`, and its value."""
        event_id = row.event_id.encode()
        distinct_id = row.distinct_id.encode()
        event = row.event.encode()
        key, project = _project(row.project_id)
        value = b"".join(
            (
                self._head,
                _size(event_id),
                event_id,
                project,
                _size(distinct_id),
                distinct_id,
                _EMPTY_TEXT,  # person_id: the Tracker's to say
                _NULL if row.anonymous_id is None else _optional_text(row.anonymous_id),
                _NULL if row.session_id is None else _optional_text(row.session_id),
                _size(event),
                event,
                _long(row.timestamp),
                _NULL if row.sent_at is None else _shared_time(row.sent_at),
                _shared_time(received_at),
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


# Two bytes of a varint at a time, more to follow; and the last bytes of one.
_GROUPS: Final = tuple(
    bytes((low | 0x80, high | 0x80)) for high in range(128) for low in range(128)
)
_ENDS: Final = tuple(_varint(number) for number in range(1 << 14))


def _long(number: int) -> bytes:
    """Avro's `long`, for a number that is not negative."""
    zigzag = number << 1
    end = zigzag >> 28
    if 0 < end < 1 << 14:  # a time from 1974 to 2109
        return _GROUPS[zigzag & 0x3FFF] + _GROUPS[zigzag >> 14 & 0x3FFF] + _ENDS[end]
    return _varint(zigzag)


@lru_cache(maxsize=1_024)
def _shared_time(ms: int) -> bytes:
    """An optional time that many events have in common."""
    return _NOT_NULL + _long(ms)


def _size(data: bytes) -> bytes:
    """Avro's length of `data`, as it stands before its bytes."""
    size = len(data)
    return _ENDS[size << 1] if size < 1 << 13 else _varint(size << 1)


def _optional_text(text: str) -> bytes:
    data = text.encode()
    return _NOT_NULL + _size(data) + data


@lru_cache(maxsize=1_024)
def _project(project_id: str) -> tuple[bytes, bytes]:
    """The start of the keys of a project's records, and the project as it stands in the datum."""
    data = project_id.encode()
    return data + b":", _size(data) + data
