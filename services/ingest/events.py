"""The types that the pipeline passes on: events as read, rows as checked, results as answered."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.fast_path.columns import Columns

EMPTY_OBJECT: Final = msgspec.Raw(b"{}")

# A time as senders write it: ISO 8601 text or milliseconds since 1970.
Time = str | int | float | None


class Event(msgspec.Struct, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One event as a format has read it: its types are right, its values are not checked yet."""

    event: str
    distinct_id: str
    event_id: str | None = None
    project_id: str | None = None
    timestamp: Time = None
    sent_at: Time = None
    anonymous_id: str | None = None
    session_id: str | None = None
    properties: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT


class Unreadable(msgspec.Struct, frozen=True):
    """An event that a format cannot read. It is dropped with `error`; its neighbours are kept."""

    error: InvalidRequest
    event_id: str | None = None


class Batch(msgspec.Struct, kw_only=True):
    """The events of one request, in the sender's order.

    `key` is the write key as given, "" without one, and `origin` the `Origin` header. `project_id`
    and `sent_at` apply to events that have none of their own. `notes` are the format's warnings, by
    index of the event. With `text_ids`, the ids of the format are any text and not only UUIDs.
    `columns` are the fields of all events, if the format has found them.
    """

    events: Sequence[Event | Unreadable]
    columns: Columns | None = None
    key: str = ""
    origin: str = ""
    project_id: str | None = None
    sent_at: Time = None
    notes: dict[int, str] = {}
    text_ids: bool = False


class Row(msgspec.Struct, frozen=True, gc=False):
    """An accepted event: complete, within the limits, with times in milliseconds since 1970.

    `properties` and `context` are JSON objects in UTF-8. `warning` says what was changed.
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


class EventResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What happened to one event.

    `ok` and `warning`: the broker has acknowledged it; with `duplicate`, it is known to have come
    before, and counts once. `drop`: it was refused, and would be refused
    again. `retry`: the broker did not acknowledge it in time and may or may not have it; sent again
    with the same `event_id`, it counts once.
    """

    event_id: str | None
    result: Verdict
    details: str = ""
    field: str = ""
    duplicate: bool = False
