"""PostHog's older format (v0), which most SDKs send: an event, an array of them, or a batch.

    PostHog                                    Avila
    event                                      event; `$identify` on `/engage` without
    distinct_id, $distinct_id,                 distinct_id, as text; a hash replaces all beyond 200
    properties.distinct_id                     characters
    uuid                                       event_id
    timestamp                                  timestamp
    offset                                     timestamp: as many milliseconds before the arrival
    sent_at, else the query's `sent_at`, `_`   sent_at, unless `properties.$ignore_sent_at`
    properties                                 properties, with the event's `$set` and `$set_once`
    properties.$session_id                     session_id
    properties.$anon_distinct_id, else         anonymous_id
    properties.$device_id
    properties.$lib, $lib_version              context.library
    the request                                context.ip (not with `ip=0`), context.userAgent

All properties stay properties as well. The write key is the batch's `api_key` or `token`, else that
of the events (`token`, `api_key`, `$token`, `properties.token`), else that of `Authorization`.

The answer is `{"status":"Ok"}`, as PostHog's own service has sent it for years; SDKs read only the
status. Errors have the shape of its older API, whose `detail` the SDKs show.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec

from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.ingest.check import join_warnings
from services.ingest.events import Batch, Event, EventResult, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import failure, remarks
from services.ingest.formats.posthog_body import unwrap
from services.ingest.formats.posthog_event import (
    ContextBuilder,
    PostHogEvent,
    SharedFields,
    read_known,
    translate,
)
from services.ingest.formats.reading import (
    EventReader,
    decode_or_none,
    read_items,
    read_members,
)
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.refusals import refuse
from services.ingest.times import now_ms


class _Batch(msgspec.Struct):
    batch: list[PostHogEvent]
    api_key: str | None = None
    token: str | None = None
    sent_at: Time = None


_event = msgspec.json.Decoder(PostHogEvent)
_events = msgspec.json.Decoder(list[PostHogEvent])
_batch = msgspec.json.Decoder(_Batch)
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)

_SUCCESS: Final = Answer(200, b'{"status":"Ok"}')


class _Failure(msgspec.Struct):
    type: str
    code: str
    detail: str
    attr: str | None


class PostHog:
    """`/batch/`, `/capture/` and similar paths. `clock` returns milliseconds since 1970."""

    name = "posthog"
    methods = frozenset({"GET", "POST"})
    paths = ("/batch", "/capture", "/track", "/engage", "/e", "/i/v0/e", "/i/v0/ai/batch")

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are valid, else one by one."""
        query = parse_qs(request.query.decode("latin-1")) if request.query else {}
        text = unwrap(request, query)
        shared = SharedFields(
            contexts=ContextBuilder(request, with_ip=query.get("ip") != ["0"]),
            name="$identify" if request.path.startswith("/engage") else None,
            sent_at=_sent_at(query),
            now=self._clock(),
        )
        reader = EventReader(_event, "uuid")
        key: str | None = None
        items: Iterable[PostHogEvent | Unreadable]
        try:
            if text.lstrip()[:1] == b"[":
                items = _events.decode(text)
            elif b'"batch"' in text:
                whole = _batch.decode(text)
                items = whole.batch
                key = whole.api_key or whole.token
                shared.sent_at = shared.sent_at if whole.sent_at is None else whole.sent_at
            else:
                items = [_event.decode(text)]
        except DECODE_ERRORS:
            items, key = _read_each(request, text, shared, reader)
        batch = _translate_all(items, key, shared, reader.notes)
        batch.key = batch.key or read_authorization(request.headers)[1]
        return batch

    def answer(self, _: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer 200 with remarks; an error if none was taken or one is to be retried."""
        if error := failure(results, retry_after_s):
            return self.refuse(error)
        if members := remarks(results):
            return Answer(200, msgspec.json.encode({"status": "Ok", **members}))
        return _SUCCESS

    def refuse(self, error: AvilaError) -> Answer:
        """Answer with the error in `detail`."""
        answer = refuse(error)
        kind = {401: "authentication_error", 503: "server_error"}.get(
            answer.status, "validation_error"
        )
        field = error.field if isinstance(error, InvalidRequest) and error.field else None
        body = msgspec.json.encode(_Failure(kind, error.code, str(error), field))
        return msgspec.structs.replace(answer, body=body)


def leave_uncorrected(batch: Batch, uncorrected: Iterable[Event], sent_at: Time) -> None:
    """Set `sent_at` for all events of `batch` except those whose clock is not to be corrected."""
    if not uncorrected:
        batch.sent_at = sent_at
        return
    for event in batch.events:
        if isinstance(event, Event) and event.sent_at is None:
            event.sent_at = sent_at
    for event in uncorrected:
        event.sent_at = None


def _sent_at(query: Mapping[str, list[str]]) -> Time:
    """Return the time that SDKs append to the address, in milliseconds; older ones use seconds."""
    for name in ("sent_at", "_"):
        if (text := query.get(name, [""])[0]).isdecimal() and len(text) == len("1700000000000"):
            return int(text)
    return None


def _read_each(
    request: Request, text: bytes, shared: SharedFields, reader: EventReader[PostHogEvent]
) -> tuple[list[PostHogEvent | Unreadable], str | None]:
    """Read the events of a body one by one, so that an invalid one affects no other."""
    key: str | None = None
    try:
        if text.lstrip()[:1] == b"[":
            raws = read_items(text, request.limits.max_events)
        else:
            fields = read_members(text)
            if "batch" not in fields:
                return reader.read_all([text]), None
            raws = read_items(fields["batch"], request.limits.max_events)
            key = _text.decode(fields.get("api_key") or fields.get("token") or b"null")
            shared.sent_at = decode_or_none(_time, fields.get("sent_at"))
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the body cannot be read as events: {error}") from None
    return reader.read_all(raws), key


def _translate_all(
    items: Iterable[PostHogEvent | Unreadable],
    key: str | None,
    shared: SharedFields,
    notes: dict[int, str],
) -> Batch:
    """Translate all events, and add to their `notes`."""
    keys = {key} if key else set()
    events: list[Event | Unreadable] = []
    uncorrected = []
    for place, item in enumerate(items):
        if isinstance(item, Unreadable):
            events.append(item)
            continue
        try:
            known = read_known(item.properties)
            event, note = translate(item, known, shared)
        except InvalidRequest as error:
            events.append(Unreadable(error, item.uuid or None))
            continue
        if known.ignore_sent_at:
            uncorrected.append(event)
        if key is None and (own := item.token or item.api_key or item.dollar_token or known.token):
            keys.add(str(own))
        events.append(event)
        if note:
            notes[place] = join_warnings(notes.get(place, ""), note)
    if len(keys) > 1:
        raise Unauthorized("the events of one request must have one API key")
    batch = Batch(events=events, notes=notes, key=keys.pop() if keys else "")
    leave_uncorrected(batch, uncorrected, shared.sent_at)
    return batch
