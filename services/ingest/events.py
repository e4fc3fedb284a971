"""What passes along the path: events as a door reads them, rows as checked, results as answered."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.fast_path.columns import Columns

NOTHING: Final = msgspec.Raw(b"{}")

# As senders spell a time: ISO-8601 text or milliseconds since 1970.
Time = str | int | float | None


class Event(msgspec.Struct, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One event as a door read it: the types are right, nothing else has been looked at."""

    event: str
    distinct_id: str
    event_id: str | None = None
    project_id: str | None = None
    timestamp: Time = None
    sent_at: Time = None
    anonymous_id: str | None = None
    session_id: str | None = None
    properties: msgspec.Raw = NOTHING
    context: msgspec.Raw = NOTHING


class Unreadable(msgspec.Struct, frozen=True):
    """An event that a door cannot read: it is dropped with `error`, its neighbours are not."""

    error: InvalidRequest
    event_id: str | None = None


class Batch(msgspec.Struct, kw_only=True):
    """The events of one request, in the sender's order.

    `key` is the write key as it was given, "" if there was none, and `origin` the `Origin` header.
    `project_id` and `sent_at` hold for events without their own. `notes` are warnings of the door,
    by the event's place. `columns` are those of all events, where a door has them at hand.
    """

    events: Sequence[Event | Unreadable]
    columns: Columns | None = None
    key: str = ""
    origin: str = ""
    project_id: str | None = None
    sent_at: Time = None
    notes: dict[int, str] = {}


class Row(msgspec.Struct, frozen=True, gc=False):
    """An event that is accepted: complete, within the limits, times in milliseconds since 1970.

    `properties` and `context` are JSON objects in UTF-8. `warning` says what is not as it was sent.
    """

    event_id: str
    project_id: str
    distinct_id: str
    anonymous_id: str | None
    session_id: str | None
    event: str
    timestamp: int
    sent_at: int | None
    properties: bytes
    context: bytes
    warning: str


Verdict = Literal["ok", "warning", "drop", "retry"]


class Result(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one event.

    `ok` and `warning`: the broker has it. `drop`: it was not taken, and never will be as it is.
    `retry`: the broker did not answer in time, it may or may not have it; sent again with the same
    `event_id` it counts once.
    """

    event_id: str | None
    result: Verdict
    details: str = ""
    field: str = ""
