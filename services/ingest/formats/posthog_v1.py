"""PostHog's newer format (capture v1): each event of a batch has an outcome of its own.

    PostHog                         Avila
    event, distinct_id, timestamp   the same
    uuid                            event_id, and the key of its outcome in the answer
    session_id                      session_id, and `$session_id` of the properties
    window_id                       `$window_id` of the properties
    options                         `$cookieless_mode`, `$process_person_profile`,
                                    `$product_tour_id` and `$ignore_sent_at` of the properties,
                                    where v0 has them
    PostHog-Request-Timestamp       sent_at, unless `options.disable_skew_correction`
    PostHog-Sdk-Info                context.library, and `$lib`, `$lib_version` of the properties
    the request                     context.ip, context.userAgent

The write key is that of `Authorization: Bearer`. A request that has an event without a `uuid` is
refused as a whole, because the answer would have no key for that event's outcome.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from schemas.errors import AvilaError, InvalidRequest
from schemas.json_text import is_empty_object
from services.ingest.check import join_warnings
from services.ingest.events import EMPTY_OBJECT, Batch, Event, EventResult, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.posthog import leave_uncorrected
from services.ingest.formats.posthog_event import ContextBuilder, anonymous_id, read_known
from services.ingest.formats.reading import (
    MAX_HEADER_BYTES,
    EventReader,
    read_items,
    read_members,
    with_members,
)
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.refusals import refuse

_OPTIONS: Final = {
    "cookieless_mode": "$cookieless_mode",
    "process_person_profile": "$process_person_profile",
    "product_tour_id": "$product_tour_id",
    "disable_skew_correction": "$ignore_sent_at",
}
_TRUE: Final = {b"true", b'"true"', b"1", b'"1"'}


class _Event(msgspec.Struct, gc=False):
    event: str
    uuid: str
    distinct_id: str
    timestamp: Time = None
    session_id: str | None = None
    window_id: str | None = None
    options: msgspec.Raw = EMPTY_OBJECT
    properties: msgspec.Raw = EMPTY_OBJECT


class _Batch(msgspec.Struct):
    batch: list[_Event]


_batch = msgspec.json.Decoder(_Batch)
_event = msgspec.json.Decoder(_Event)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Outcome(msgspec.Struct, omit_defaults=True):
    result: str
    details: str = ""


class _Failure(msgspec.Struct):
    error: str
    error_description: str


class PostHogV1:
    """`POST /i/v1/analytics/events`."""

    name = "posthog-v1"
    methods = frozenset({"POST"})
    paths: tuple[str, ...] = ("/i/v1/analytics/events",)

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are valid, else one by one."""
        reader = EventReader(_event, "uuid")
        items: Iterable[_Event | Unreadable]
        try:
            items = _batch.decode(request.body).batch
        except DECODE_ERRORS:
            items = _read_each(request, reader)
        sent_at = request.headers.get(b"posthog-request-timestamp", b"").decode("latin-1") or None
        info = request.headers.get(b"posthog-sdk-info", b"")[:MAX_HEADER_BYTES]
        library, _, version = info.partition(b"/")
        names = {"$lib": library.decode("latin-1"), "$lib_version": version.decode("latin-1")}
        shared = {name: msgspec.json.encode(value) for name, value in names.items() if value}
        context = ContextBuilder(request).build(*names.values())
        uncorrected: list[Event] = []
        events: list[Event | Unreadable] = []
        for place, item in enumerate(items):
            event, note = (
                (item, "")
                if isinstance(item, Unreadable)
                else _translate(item, shared, context, uncorrected)
            )
            if not event.event_id:
                raise InvalidRequest("is missing; text is required", f"batch[{place}].uuid")
            if note:
                reader.notes[place] = join_warnings(reader.notes.get(place, ""), note)
            events.append(event)
        batch = Batch(events=events, notes=reader.notes, key=read_authorization(request.headers)[1])
        leave_uncorrected(batch, uncorrected, sent_at)
        return batch

    def answer(self, batch: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer with the outcome of each event, by its `uuid` as sent."""
        outcomes = {
            event.event_id or "": _Outcome(result.result, result.details)
            for event, result in zip(batch.events, results, strict=True)
        }
        retries = any(result.result == "retry" for result in results)
        return Answer(
            status=200,
            body=msgspec.json.encode({"results": outcomes}),
            retry_after_s=retry_after_s if retries else 0,
        )

    def refuse(self, error: AvilaError) -> Answer:
        """Answer with `error` and `error_description`."""
        body = msgspec.json.encode(_Failure(error.code, str(error)))
        return msgspec.structs.replace(refuse(error), body=body)


def _read_each(request: Request, reader: EventReader[_Event]) -> list[_Event | Unreadable]:
    """Read the events of a body one by one, so that an invalid one affects no other."""
    try:
        members = read_members(request.body)
        raws = read_items(members.get("batch", msgspec.Raw(b"null")), request.limits.max_events)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an array of events: {error}", "batch") from None
    return reader.read_all(raws)


def _translate(
    item: _Event, shared: Mapping[str, bytes], context: msgspec.Raw, uncorrected: list[Event]
) -> tuple[Event | Unreadable, str]:
    members = dict(shared)
    if item.session_id is not None:
        members["$session_id"] = msgspec.json.encode(item.session_id)
    if item.window_id is not None:
        members["$window_id"] = msgspec.json.encode(item.window_id)
    corrected = True
    try:
        known = read_known(item.properties)
        if not is_empty_object(options := bytes(item.options)):
            for name, value in _fields.decode(options).items():
                if name in _OPTIONS:
                    members[_OPTIONS[name]] = bytes(value)
            corrected = members.get("$ignore_sent_at") not in _TRUE
    except InvalidRequest as error:
        return Unreadable(error, item.uuid), ""
    except DECODE_ERRORS as reason:
        unread = InvalidRequest(f"cannot be read: {reason}", "options")
        return Unreadable(unread, item.uuid), ""
    before, note = anonymous_id(known)
    event = Event(
        event=item.event,
        distinct_id=item.distinct_id,
        event_id=item.uuid,
        timestamp=item.timestamp,
        anonymous_id=before,
        session_id=item.session_id,
        properties=with_members(item.properties, members) if members else item.properties,
        context=context,
    )
    if not corrected:
        uncorrected.append(event)
    return event, note
