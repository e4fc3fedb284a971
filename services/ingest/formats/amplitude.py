"""Amplitude's HTTP V2 API, as its SDKs use it: events with one API key.

    Amplitude                       Avila
    event_type                      event; `$groupidentify` is `$group`
    user_id, else device_id         distinct_id; `device_id` is always anonymous_id
    insert_id                       event_id, derived from it and the device_id (else the user_id):
                                    it is unique only within a device; without one, each event is
                                    a new one
    time                            timestamp, else the arrival
    client_upload_time              sent_at
    session_id                      session_id, as text; -1 means none
    event_properties                properties
    price, quantity, revenue,       properties `$price`, `$quantity`, `$revenue`, `$productId`, …:
    productId, …                    the names that SDKs use in revenue events
    user_properties                 properties.$set
      of which $set, $setOnce       properties.$set, properties.$set_once
      of which $add, $unset, …      properties.$operations, unchanged: nothing acts on them
    groups                          properties.$groups, unchanged
      of a `$groupidentify`         also properties `$group_type` and `$group_id`, if it is one
    group_properties                properties `$group_set`, `$group_set_once`, `$group_operations`
    ip, user_agent, language,       context `ip`, `userAgent`, `locale`, `platform`
    platform
    library                         context.library: `name` and `version` of `name/version`
    app_version, os_…, device_…,    context `app`, `os`, `device`, `network`, `location`, with
    carrier, country, …             Segment's names
    ip: "$remote"                   the caller's `ip` and, unless given, its `userAgent`

A `$groupidentify` need not name a user. Its distinct_id is then `$<type>_<id>` of its only group,
as in PostHog's Node SDK. Other fields (`event_id`, `plan`, `partner_id`, …) and the request's
`options` are dropped: `min_id_length` lowers Amplitude's own minimum, and there is no minimum here.
The write key is the body's `api_key`, else that of `Authorization`.

The path `/batch`, which SDKs use with `useBatch`, belongs to PostHog's format. Set the SDK's whole
address instead (`serverUrl`, `server_url`); the requests are the same.

SDKs read the status and the body, whose `code` repeats the status:

    200    The request is done. `dropped` lists events that were refused while others were taken. A
           400 would make SDKs send the taken ones again: those without an `insert_id` would count
           twice, and all would use up the key's rate. So callbacks also see 200 for dropped events.
    400    No event was taken, and SDKs give up the listed events, which are all. A wrong key has an
           `error` that begins with `Invalid API key`, by which SDKs know that retries are useless.
    413    The SDK sends smaller requests.
    429, 503    The SDK sends the whole request again.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.ingest.events import Batch, EventResult, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.amplitude_event import (
    AmplitudeEvent,
    ContextBuilder,
    Missing,
    translate,
)
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import failure, remarks
from services.ingest.formats.reading import EventReader, decode_or_none, read_items, read_members
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.refusals import refuse
from services.ingest.times import now_ms

# Fields named in errors of the pipeline, as Amplitude calls them.
_AMPLITUDE_FIELDS: Final = {
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
    """A batch with the `size` of its body in bytes and its `insert_id`s, which the answer names."""

    size: int = 0
    insert_ids: Sequence[str | int | float | None] = ()


class _Success(msgspec.Struct, omit_defaults=True):
    code: int
    events_ingested: int
    payload_size_bytes: int
    server_upload_time: int
    dropped: list[dict[str, object]] = []
    warnings: list[dict[str, object]] = []


class _Failure(msgspec.Struct, omit_defaults=True):
    """`events_with_…` map the name of a field to the indexes of the events."""

    code: int
    error: str
    missing_field: str = ""
    events_with_missing_fields: dict[str, list[int]] = {}
    events_with_invalid_fields: dict[str, list[int]] = {}


_upload = msgspec.json.Decoder(_Upload)
_event = msgspec.json.Decoder(AmplitudeEvent)
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)


class Amplitude:
    """`POST /2/httpapi`. `clock` returns milliseconds since 1970."""

    name = "amplitude"
    methods = frozenset({"POST"})
    paths = ("/2/httpapi",)

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are valid, else one by one."""
        contexts = ContextBuilder(request)
        try:
            whole = _upload.decode(request.body)
        except DECODE_ERRORS:
            batch = _read_each(request, contexts)
        else:
            batch = _Batch(
                events=[translate(event, contexts) for event in whole.events],
                insert_ids=[event.insert_id for event in whole.events],
                key=whole.api_key or "",
                sent_at=whole.client_upload_time,
            )
        batch.key = batch.key or read_authorization(request.headers)[1]
        batch.size = len(request.body)
        return batch

    def answer(self, batch: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer 200 and the dropped events; an error if none was taken or one is to be retried."""
        if error := failure(results, retry_after_s):
            if isinstance(error, InvalidRequest):
                return _refuse(error, batch, results)
            return self.refuse(error)
        members = remarks(_as_named(batch, results))
        success = _Success(
            code=200,
            events_ingested=len(results) - len(members.get("dropped", ())),
            payload_size_bytes=batch.size if isinstance(batch, _Batch) else 0,
            server_upload_time=self._clock(),
            dropped=members.get("dropped", []),
            warnings=members.get("warnings", []),
        )
        return Answer(200, msgspec.json.encode(success))

    def refuse(self, error: AvilaError) -> Answer:
        """Answer with `code` and `error`; an invalid key is a 400, as with Amplitude."""
        answer = refuse(error)
        if isinstance(error, Unauthorized):
            failed = _Failure(400, f"Invalid API key: {error}")
        else:
            field = error.field if isinstance(error, Missing) else ""
            failed = _Failure(answer.status, str(error), field)
        return msgspec.structs.replace(answer, status=failed.code, body=msgspec.json.encode(failed))


def _as_named(batch: Batch, results: list[EventResult]) -> list[EventResult]:
    """Return the results with the ids that the sender gave."""
    if not isinstance(batch, _Batch) or all(result.result == "ok" for result in results):
        return results
    return [
        msgspec.structs.replace(result, event_id=None if given is None else str(given))
        for result, given in zip(results, batch.insert_ids, strict=True)
    ]


def _refuse(error: InvalidRequest, batch: Batch, results: list[EventResult]) -> Answer:
    """Answer that no event was taken, and list all of them, so that none is sent again."""
    failed = _Failure(400, str(error))
    for place, (event, result) in enumerate(zip(batch.events, results, strict=True)):
        is_missing = isinstance(event, Unreadable) and isinstance(event.error, Missing)
        places = (
            failed.events_with_missing_fields if is_missing else failed.events_with_invalid_fields
        )
        field = _AMPLITUDE_FIELDS.get(result.field, result.field) or "events"
        places.setdefault(field, []).append(place)
    return Answer(failed.code, msgspec.json.encode(failed))


def _read_each(request: Request, contexts: ContextBuilder) -> _Batch:
    """Read the events of a body one by one, so that an invalid one affects no other."""
    try:
        fields = read_members(request.body)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    if "events" not in fields:
        raise Missing("is missing; an array of events is required", "events")
    try:
        raws = read_items(fields["events"], request.limits.max_events)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an array: {error}", "events") from None
    reader = EventReader(_event, "insert_id")
    events = reader.read_all(raws)
    return _Batch(
        events=[
            event if isinstance(event, Unreadable) else translate(event, contexts)
            for event in events
        ],
        insert_ids=[
            event.event_id if isinstance(event, Unreadable) else event.insert_id for event in events
        ],
        notes=reader.notes,
        key=decode_or_none(_text, fields.get("api_key")) or "",
        sent_at=decode_or_none(_time, fields.get("client_upload_time")),
    )
