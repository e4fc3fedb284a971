"""PostHog's newer format (capture v1): each event of a batch has an outcome of its own.

    theirs                          ours
    event, distinct_id, timestamp   the same
    uuid                            event_id, and what the outcome is filed under
    session_id                      session_id, and `$session_id` of the properties
    window_id                       `$window_id` of the properties
    options                         `$cookieless_mode`, `$process_person_profile`,
                                    `$product_tour_id` and `$ignore_sent_at` of the properties,
                                    where v0 has them
    PostHog-Request-Timestamp       sent_at, unless `options.disable_skew_correction`
    PostHog-Sdk-Info                context.library, and `$lib`, `$lib_version` of the properties
    who sent it                     context.ip, context.userAgent

The write key is that of `Authorization: Bearer`. A request with an event without a `uuid` is
refused as a whole: there would be no place for that event's outcome.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from schemas.errors import AvilaError, InvalidRequest
from services.ingest.events import NOTHING, Batch, Event, Result, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.posthog import Caller, anonymous, leave_uncorrected, read_known
from services.ingest.formats.reading import BAD, MAX_HEADER_BYTES, put, unreadable
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
    options: msgspec.Raw = NOTHING
    properties: msgspec.Raw = NOTHING


class _Batch(msgspec.Struct):
    batch: list[_Event]


_batch = msgspec.json.Decoder(_Batch)
_event = msgspec.json.Decoder(_Event)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
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
    paths = ("/i/v1/analytics/events", "/i/v1/analytics/events/")

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are right, else each by itself."""
        items: Iterable[_Event | Unreadable]
        try:
            items = _batch.decode(request.body).batch
        except BAD:
            items = _read_carefully(request.body)
        sent_at = request.headers.get(b"posthog-request-timestamp", b"").decode("latin-1") or None
        info = request.headers.get(b"posthog-sdk-info", b"")[:MAX_HEADER_BYTES]
        library, _, version = info.partition(b"/")
        names = {"$lib": library.decode("latin-1"), "$lib_version": version.decode("latin-1")}
        shared = {name: msgspec.json.encode(value) for name, value in names.items() if value}
        context = Caller(request).context(*names.values())
        uncorrected: list[Event] = []
        events = [
            item if isinstance(item, Unreadable) else _translate(item, shared, context, uncorrected)
            for item in items
        ]
        for place, event in enumerate(events):
            if not event.event_id:
                raise InvalidRequest("is missing; text is required", f"batch[{place}].uuid")
        batch = Batch(events=events, key=read_authorization(request.headers)[1])
        leave_uncorrected(batch, uncorrected, sent_at)
        return batch

    def answer(self, batch: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """File the outcomes under the ids as they were sent."""
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
        """Say it with `error` and `error_description`."""
        body = msgspec.json.encode(_Failure(error.code, str(error)))
        return msgspec.structs.replace(refuse(error), body=body)


def _read_carefully(body: bytes) -> list[_Event | Unreadable]:
    try:
        raws = _raws.decode(_fields.decode(body).get("batch", b"null"))
    except BAD as error:
        raise InvalidRequest(f"cannot be read as an array of events: {error}", "batch") from None
    items: list[_Event | Unreadable] = []
    for raw in raws:
        try:
            items.append(_event.decode(raw))
        except BAD as error:
            items.append(unreadable(raw, error, "uuid"))
    return items


def _translate(
    item: _Event, shared: Mapping[str, bytes], context: msgspec.Raw, uncorrected: list[Event]
) -> Event | Unreadable:
    members = dict(shared)
    if item.session_id is not None:
        members["$session_id"] = msgspec.json.encode(item.session_id)
    if item.window_id is not None:
        members["$window_id"] = msgspec.json.encode(item.window_id)
    corrected = True
    try:
        known = read_known(item.properties)
        if item.options is not NOTHING and (options := bytes(item.options)) not in {b"{}", b"null"}:
            for name, value in _fields.decode(options).items():
                if name in _OPTIONS:
                    members[_OPTIONS[name]] = bytes(value)
            corrected = members.get("$ignore_sent_at") not in _TRUE
    except InvalidRequest as error:
        return Unreadable(error, item.uuid)
    except BAD as error:
        return Unreadable(InvalidRequest(f"cannot be read: {error}", "options"), item.uuid)
    event = Event(
        event=item.event,
        distinct_id=item.distinct_id,
        event_id=item.uuid,
        timestamp=item.timestamp,
        anonymous_id=anonymous(known),
        session_id=item.session_id,
        properties=put(item.properties, members) if members else item.properties,
        context=context,
    )
    if not corrected:
        uncorrected.append(event)
    return event
