"""Checks and encodes the plain events of a request together, in a fraction of the time.

What is plain, `services.ingest.plain_rows` tells; most requests have nothing else.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Final

import numpy as np

from pipelines.kernel import Int64s
from services.ingest.check import LEAST_PROPERTY_BYTES, Arrival
from services.ingest.encode import Encoder
from services.ingest.events import Event, Time, Unreadable
from services.ingest.limits import Limits
from services.ingest.plain_rows import (
    NONE,
    OBJECTS,
    OVERHEAD,
    TEXTS,
    Most,
    Shared,
    write_rows,
)
from services.ingest.produce import Record

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
        self._encode([Event(event="", distinct_id="")], Arrival("", None, None, 0, ""))

    def encode(
        self, events: Sequence[Event | Unreadable], arrival: Arrival
    ) -> Sequence[Record | None]:
        """The record of each event that is plain: it would be the same one by one, and no warning.

        None stands for the others; for all of them, where a request as a whole is not plain.
        """
        given = [event for event in events if isinstance(event, Event)]
        projects = {event.project_id or arrival.project_id for event in given}
        if (
            len(given) < len(events)
            or projects != {arrival.project_id}
            or (arrival.named or arrival.project_id) != arrival.project_id
            or arrival.warning
            or any(event.sent_at is not None for event in given)
        ):
            return [None] * len(events)
        return self._encode(given, arrival) or [None] * len(events)

    def _encode(self, events: Sequence[Event], arrival: Arrival) -> list[Record | None]:
        """The same, of events that are their project's; empty if there is none to be encoded."""
        distinct_ids = list(map(_distinct_ids, events))
        times = [event.timestamp for event in events]
        texts = [
            *map(_names, events),
            *distinct_ids,
            *[event.event_id or "" for event in events],
            *[time if type(time) is str else "" for time in times],
            *[event.anonymous_id or "" for event in events],
            *[event.session_id or "" for event in events],
        ]
        objects = [bytes(event.properties) for event in events]
        objects += [bytes(event.context) for event in events]
        data = b"".join(objects)
        try:
            data.decode()  # each is in closed JSON strings, so all are if all together is
            text, sizes = _joined(texts)
            numbers = np.array([_number(time, arrival.received_at) for time in times], np.int64)
        except (UnicodeError, OverflowError):
            return []
        shared = _shared(*self._encoder.shared(arrival))
        out = np.empty(
            len(text) + len(data) + len(events) * (sum(map(len, shared)) + OVERHEAD), np.uint8
        )
        ends = np.empty(len(events), np.int64)
        write_rows(
            np.frombuffer(text, np.uint8),
            sizes.reshape(TEXTS, len(events)),
            numbers,
            np.empty(TEXTS, np.int64),
            np.frombuffer(data, np.uint8),
            _sizes(objects).reshape(OBJECTS, len(events)),
            np.empty(OBJECTS, np.int64),
            shared,
            self._most,
            out,
            ends,
        )
        written = out[: ends[-1]].tobytes()
        key = f"{arrival.project_id}:"
        return [
            {"key": (key + distinct_id).encode(), "value": written[begin:end]}
            if begin < end
            else None
            for distinct_id, (begin, end) in zip(
                distinct_ids, pairwise([0, *ends.tolist()]), strict=True
            )
        ]


def _shared(*parts: bytes) -> Shared:
    return Shared(*(np.frombuffer(part, np.uint8) for part in parts))


def _joined(texts: list[str]) -> tuple[bytes, Int64s]:
    """All texts in UTF-8, and how many bytes each has."""
    joined = "".join(texts)
    if joined.isascii():
        return joined.encode(), _sizes(texts)
    parts = [text.encode() for text in texts]
    return b"".join(parts), _sizes(parts)


def _sizes(parts: Sequence[str] | Sequence[bytes]) -> Int64s:
    return np.fromiter(map(len, parts), np.int64, len(parts))


def _number(time: Time, received_at: int) -> int:
    """A time that is no text; what is below 0 is none."""
    if time is None:
        return received_at
    return time if type(time) is int else NONE
