"""Amplitude's format, as its HTTP V2 API has it and its SDKs send it: events with one API key.

    theirs                          ours
    event_type                      event; `$groupidentify` is `$group`
    user_id, else device_id         distinct_id; `device_id` is anonymous_id in any case
    insert_id                       event_id, whatever the device; without one an event is a new one
    time                            timestamp, else the arrival
    client_upload_time              sent_at
    session_id                      session_id, as text; -1, which is none, is none
    event_properties                properties
    price, quantity, revenue,       properties `$price`, `$quantity`, `$revenue`, `$productId`, …:
    productId, …                    SDKs themselves name them so in events of revenue
    user_properties                 properties.$set
      of which $set, $setOnce       properties.$set, properties.$set_once
      of which $add, $unset, …      properties.$operations, as they came: nothing here acts on them
    groups                          properties.$groups, as they came
      of a `$groupidentify`         properties `$group_type` and `$group_id`, too, if it is one
    group_properties                properties `$group_set`, `$group_set_once`, `$group_operations`
    ip, user_agent, language,       context `ip`, `userAgent`, `locale`, `platform`
    platform
    library                         context.library, `name/version` taken apart
    app_version, os_…, device_…,    context `app`, `os`, `device`, `network`, `location`, with
    carrier, country, …             Segment's names
    ip: "$remote"                   context gets the caller's `ip`, and `userAgent` if it has none

A `$groupidentify` need not say who sends it. Then distinct_id is `$<type>_<id>` of its one group,
which is what PostHog's Node SDK puts there.

Everything else (`event_id`, `plan`, `partner_id`, …) is about the way here and ends here, and so do
the request's `options`: `min_id_length` lowers Amplitude's own least length, and here is none. The
write key is the body's `api_key`, else that of `Authorization`.

`/batch`, where SDKs send with `useBatch`, is PostHog's here. Which of the two a body is does show,
but only once it is unwrapped and read; which door answers is decided before that, and once for
errors too. It loses nothing: SDKs take a whole address (`serverUrl`, `server_url`), and what they
send is the same.

Of the answers, SDKs read the status and the body, whose `code` is the status again. After 200 they
are done. After 400 they give up the events that are listed, and send the others again: therefore it
says that nothing was taken, with all of them in its lists. Where some events were taken it is 200,
and `dropped` tells of the others: a 400 would make them send the taken ones again, which counts
those twice that have no `insert_id`, and against the key's rate all of them. What it costs is that
an SDK's callback hears 200 of a dropped one, too. After 413 they send less at once, after 429 and
503 they come again with all of it. A wrong key is a 400 whose `error` begins with `Invalid API
key`, as with Amplitude: by this alone they know that it is of no use to try again.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.ingest.events import Batch, Event, Result, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.amplitude_event import AmplitudeEvent, Caller, Missing, translate
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import dropped, failure
from services.ingest.formats.reading import BAD, lenient, unreadable
from services.ingest.refusals import refuse
from services.ingest.times import now_ms

# What the shared path finds wrong, in the words of whoever sent it.
_THEIRS: Final = {
    "event": "event_type",
    "distinct_id": "user_id",
    "anonymous_id": "device_id",
    "event_id": "insert_id",
    "timestamp": "time",
    "properties": "event_properties",
}


class _Upload(msgspec.Struct):
    events: list[AmplitudeEvent]
    api_key: str | None = None
    client_upload_time: Time = None


class _Batch(Batch):
    """A batch that knows the `size` of its body, in bytes as they were read: the answer says it."""

    size: int = 0


class _Success(msgspec.Struct, omit_defaults=True):
    code: int
    events_ingested: int
    payload_size_bytes: int
    server_upload_time: int
    dropped: list[dict[str, object]] = []


class _Failure(msgspec.Struct, omit_defaults=True):
    """`events_with_…` have the places of the events by the name of the field."""

    code: int
    error: str
    missing_field: str = ""
    events_with_missing_fields: dict[str, list[int]] = {}
    events_with_invalid_fields: dict[str, list[int]] = {}


_upload = msgspec.json.Decoder(_Upload)
_event = msgspec.json.Decoder(AmplitudeEvent)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)


class Amplitude:
    """`POST /2/httpapi`. `clock` gives the time in milliseconds since 1970."""

    name = "amplitude"
    methods = frozenset({"POST"})
    paths = ("/2/httpapi",)

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are right, else each by itself."""
        caller = Caller(request)
        events: list[Event | Unreadable]
        try:
            whole = _upload.decode(request.body)
            events = [translate(event, caller) for event in whole.events]
            key, sent_at = whole.api_key, whole.client_upload_time
        except BAD:
            events, key, sent_at = _read_carefully(request.body, caller)
        return _Batch(
            events=events,
            key=key or read_authorization(request.headers)[1],
            sent_at=sent_at,
            size=len(request.body),
        )

    def answer(self, batch: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Tell success, and what was dropped; or that all was dropped, or is to be sent again."""
        if error := failure(results, retry_after_s):
            if isinstance(error, InvalidRequest):
                return _refuse(error, batch, results)
            return self.refuse(error)
        drops = dropped(results)
        success = _Success(
            code=200,
            events_ingested=len(results) - len(drops),
            payload_size_bytes=batch.size if isinstance(batch, _Batch) else 0,
            server_upload_time=self._clock(),
            dropped=drops,
        )
        return Answer(200, msgspec.json.encode(success))

    def refuse(self, error: AvilaError) -> Answer:
        """Say it with `code` and `error`, and as a wrong key what is one."""
        answer = refuse(error)
        if isinstance(error, Unauthorized):
            failed = _Failure(400, f"Invalid API key: {error}")
        else:
            field = error.field if isinstance(error, Missing) else ""
            failed = _Failure(answer.status, str(error), field)
        return msgspec.structs.replace(answer, status=failed.code, body=msgspec.json.encode(failed))


def _refuse(error: InvalidRequest, batch: Batch, results: list[Result]) -> Answer:
    """Say that no event was taken, and list them all, so that none of them is sent again."""
    failed = _Failure(400, str(error))
    for place, (event, result) in enumerate(zip(batch.events, results, strict=True)):
        is_missing = isinstance(event, Unreadable) and isinstance(event.error, Missing)
        places = (
            failed.events_with_missing_fields if is_missing else failed.events_with_invalid_fields
        )
        field = _THEIRS.get(result.field, result.field) or "events"
        places.setdefault(field, []).append(place)
    return Answer(failed.code, msgspec.json.encode(failed))


def _read_carefully(
    body: bytes, caller: Caller
) -> tuple[list[Event | Unreadable], str | None, Time]:
    """Read a body that is not as it should be: what is wrong with one event harms no other."""
    try:
        fields = _fields.decode(body)
    except BAD as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    if "events" not in fields:
        raise Missing("is missing; an array of events is required", "events")
    try:
        raws = _raws.decode(fields["events"])
    except BAD as error:
        raise InvalidRequest(f"cannot be read as an array: {error}", "events") from None
    return (
        [_read(raw, caller) for raw in raws],
        lenient(_text, fields.get("api_key")),
        lenient(_time, fields.get("client_upload_time")),
    )


def _read(raw: msgspec.Raw, caller: Caller) -> Event | Unreadable:
    try:
        event = _event.decode(raw)
    except BAD as error:
        return unreadable(raw, error, "insert_id")
    return translate(event, caller)
