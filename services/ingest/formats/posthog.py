"""PostHog's format, as its SDKs have always sent it (v0): an event, an array of them, or a batch.

    theirs                                     ours
    event                                      event; `$identify` on `/engage` without
    distinct_id, $distinct_id,                 distinct_id, as text, of which the first 200
    properties.distinct_id                     characters count
    uuid                                       event_id
    timestamp                                  timestamp
    offset                                     timestamp, so many milliseconds before the arrival
    sent_at, else the query's `sent_at`, `_`   sent_at, unless `properties.$ignore_sent_at`
    properties                                 properties, with `$set` and `$set_once` of the event
    properties.$session_id                     session_id, too
    properties.$anon_distinct_id,              anonymous_id, too
    properties.$device_id
    properties.$lib, $lib_version              context.library, too
    who sent it                                context.ip (not with `ip=0`), context.userAgent

The write key is the batch's `api_key` or `token`, else the events' (`token`, `api_key`, `$token`,
`properties.token`), else that of `Authorization`.

Bodies come as JSON, compressed without saying so, in base64, in a form's `data`, or in the query's:
what it is shows in its first bytes, which are not in doubt as `compression=…` is.

The reply is `{"status":"Ok"}`, which PostHog's own service has been sending for years; SDKs look at
the status alone. Errors have the shape of its older API, whose `detail` the SDKs show.
"""

import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote_to_bytes

import msgspec

from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.ingest.body import UnsupportedMedia, expand
from services.ingest.events import NOTHING, Batch, Event, Result, Time, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import dropped, failure
from services.ingest.formats.reading import BAD, as_text, put, unreadable, user_agent
from services.ingest.refusals import refuse
from services.ingest.times import now_ms

GZIP: Final = b"\x1f\x8b\x08"
MAX_ID_CHARS: Final = 200

_PATHS: Final = ("/batch", "/capture", "/track", "/engage", "/e", "/i/v0/e", "/i/v0/ai/batch")
# Compressed, and then in base64, and then perhaps once more by a proxy.
_MAX_WRAPS: Final = 4
_PIECE: Final = 1 << 16


class _Event(
    msgspec.Struct,
    gc=False,
    rename={
        "distinct_id_too": "$distinct_id",
        "token_too": "$token",
        "set": "$set",
        "set_once": "$set_once",
    },
):
    event: str | None = None
    distinct_id: Any = None
    distinct_id_too: Any = None
    uuid: str | None = None
    timestamp: Time = None
    offset: int | float | None = None
    sent_at: Time = None
    token: str | None = None
    api_key: str | None = None
    token_too: str | None = None
    properties: msgspec.Raw = NOTHING
    set: msgspec.Raw = NOTHING
    set_once: msgspec.Raw = NOTHING


class _Batch(msgspec.Struct):
    batch: list[_Event]
    api_key: str | None = None
    token: str | None = None
    sent_at: Time = None


class Known(
    msgspec.Struct,
    gc=False,
    rename={
        "session_id": "$session_id",
        "anon_distinct_id": "$anon_distinct_id",
        "device_id": "$device_id",
        "lib": "$lib",
        "lib_version": "$lib_version",
        "ignore_sent_at": "$ignore_sent_at",
    },
):
    """The properties that mean something to us, whatever they may be."""

    distinct_id: Any = None
    token: Any = None
    session_id: Any = None
    anon_distinct_id: Any = None
    device_id: Any = None
    lib: Any = None
    lib_version: Any = None
    ignore_sent_at: Any = None


class Caller:
    """The context that an event gets from its sender: the same for all with the same library."""

    def __init__(self, request: Request, *, with_ip: bool = True) -> None:
        self._about: dict[str, Any] = {}
        if with_ip and request.client_ip:
            self._about["ip"] = request.client_ip
        if agent := user_agent(request):
            self._about["userAgent"] = agent
        self._known: dict[tuple[str, str], msgspec.Raw] = {}

    def context(self, library: object, version: object) -> msgspec.Raw:
        """Return the context of an event that this library sent."""
        key = (
            library if type(library) is str else "",
            version if type(version) is str else "",
        )
        context = self._known.get(key)
        if context is None:
            about = self._about | (
                {"library": {"name": key[0], "version": key[1]}} if any(key) else {}
            )
            context = self._known[key] = msgspec.Raw(msgspec.json.encode(about))
        return context


class _Shared(msgspec.Struct):
    """What the events of one request have in common; `name` is the event's if it has none."""

    caller: Caller
    name: str | None
    sent_at: Time
    now: int


_known = msgspec.json.Decoder(Known | None)
_event = msgspec.json.Decoder(_Event)
_events = msgspec.json.Decoder(list[_Event])
_batch = msgspec.json.Decoder(_Batch)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(Time)

_UNKNOWN: Final = Known()
_TAKEN: Final = Answer(200, b'{"status":"Ok"}')


class _Failure(msgspec.Struct):
    type: str
    code: str
    detail: str
    attr: str | None


class PostHog:
    """`/batch/`, `/capture/` and their like. `clock` gives the time in milliseconds since 1970."""

    name = "posthog"
    methods = frozenset({"GET", "POST"})
    paths = tuple(path + slash for path in _PATHS for slash in ("", "/"))

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock

    def parse(self, request: Request) -> Batch:
        """Read the events: all at once if all are right, else each by itself."""
        query = parse_qs(request.query.decode("latin-1")) if request.query else {}
        text = _unwrap(request, query)
        shared = _Shared(
            caller=Caller(request, with_ip=query.get("ip") != ["0"]),
            name="$identify" if request.path.startswith("/engage") else None,
            sent_at=_sent_at(query),
            now=self._clock(),
        )
        key: str | None = None
        items: Iterable[_Event | Unreadable]
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
        except BAD:
            items, key = _read_carefully(text, shared)
        batch = _translate_all(items, key, shared)
        batch.key = batch.key or read_authorization(request.headers)[1]
        return batch

    def answer(self, _: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Tell success, and what was dropped; or that all was dropped, or is to be sent again."""
        if error := failure(results, retry_after_s):
            return self.refuse(error)
        if drops := dropped(results):
            return Answer(200, msgspec.json.encode({"status": "Ok", "dropped": drops}))
        return _TAKEN

    def refuse(self, error: AvilaError) -> Answer:
        """Say it with a `detail`."""
        answer = refuse(error)
        kind = {401: "authentication_error", 503: "server_error"}.get(
            answer.status, "validation_error"
        )
        field = error.field if isinstance(error, InvalidRequest) and error.field else None
        body = msgspec.json.encode(_Failure(kind, error.code, str(error), field))
        return msgspec.structs.replace(answer, body=body)


def read_known(properties: msgspec.Raw) -> Known:
    """Return what is known of an event's properties.

    Raises:
        InvalidRequest: they are not an object.
    """
    if properties is NOTHING:
        return _UNKNOWN
    try:
        return _known.decode(properties) or _UNKNOWN
    except BAD as error:
        raise InvalidRequest(f"cannot be read as an object: {error}", "properties") from None


def leave_uncorrected(batch: Batch, uncorrected: Iterable[Event], sent_at: Time) -> None:
    """Set when `batch` was sent, but not for the events whose clock is not to be corrected."""
    if not uncorrected:
        batch.sent_at = sent_at
        return
    for event in batch.events:
        if isinstance(event, Event) and event.sent_at is None:
            event.sent_at = sent_at
    for event in uncorrected:
        event.sent_at = None


def anonymous(known: Known) -> str | None:
    """Return whom the person was before being identified."""
    if known.anon_distinct_id is None and known.device_id is None:
        return None
    for value in (known.anon_distinct_id, known.device_id):
        if isinstance(value, str):
            return value
    return None


def _unwrap(request: Request, query: Mapping[str, list[str]]) -> bytes:
    """Return the JSON that a request holds, in whatever it is wrapped; or what may be some."""
    if query.get("compression") == ["lz64"]:
        raise UnsupportedMedia(
            "lz64 is not understood; accepted are gzip and base64", "compression"
        )
    body = request.body
    if request.method == "GET":
        body = query.get("data", [""])[0].encode()
    elif body.startswith(b"data=") or (
        # Which is also what curl says of whatever it sends.
        request.content_type == "application/x-www-form-urlencoded"
        and not body.startswith((b"{", b"[", GZIP))
    ):
        body = _form_data(body)
    for _ in range(_MAX_WRAPS):
        if body.startswith(GZIP):
            body = expand(body, "gzip", request.grow, request.limits)
        elif (first := body[:64].lstrip()[:1]) in {b"{", b"["} or not first:
            break
        else:
            try:
                body = binascii.a2b_base64(body.replace(b" ", b"+") + b"==")
            except binascii.Error:
                break
    return body


def _form_data(body: bytes) -> bytes:
    """Return the `data` of a form; what is no form is returned as it is."""
    start = 0 if body.startswith(b"data=") else body.find(b"&data=") + 1
    if start == 0 and not body.startswith(b"data="):
        return body
    end = body.find(b"&", start)
    text = body[start + len(b"data=") : len(body) if end < 0 else end].replace(b"+", b" ")
    # Piece by piece: of each escape an object is made.
    pieces = []
    start = 0
    while start < len(text):
        end = start + _PIECE
        if (cut := text.rfind(b"%", end - 2, end)) > 0:
            end = cut
        pieces.append(unquote_to_bytes(text[start:end]))
        start = end
    return b"".join(pieces)


def _sent_at(query: Mapping[str, list[str]]) -> Time:
    """Return the time that SDKs append to the address, in milliseconds; older ones', in seconds."""
    for name in ("sent_at", "_"):
        if (text := query.get(name, [""])[0]).isdecimal() and len(text) == len("1700000000000"):
            return int(text)
    return None


def _read_carefully(text: bytes, shared: _Shared) -> tuple[list[_Event | Unreadable], str | None]:
    """Read what is not as it should be: what is wrong with one event harms no other."""
    key: str | None = None
    try:
        if text.lstrip()[:1] == b"[":
            raws = _raws.decode(text)
        else:
            fields = _fields.decode(text)
            if "batch" not in fields:
                return [_read(text)], None
            raws = _raws.decode(fields["batch"])
            key = _text.decode(fields.get("api_key") or fields.get("token") or b"null")
            shared.sent_at = _time.decode(fields.get("sent_at", b"null"))
    except BAD as error:
        raise InvalidRequest(f"the body cannot be read as events: {error}") from None
    return [_read(raw) for raw in raws], key


def _read(raw: bytes | msgspec.Raw) -> _Event | Unreadable:
    try:
        return _event.decode(raw)
    except BAD as error:
        return unreadable(raw, error, "uuid")


def _translate_all(items: Iterable[_Event | Unreadable], key: str | None, shared: _Shared) -> Batch:
    keys = {key} if key else set()
    events: list[Event | Unreadable] = []
    uncorrected = []
    for item in items:
        if isinstance(item, Unreadable):
            events.append(item)
            continue
        try:
            known = read_known(item.properties)
            event = _translate(item, known, shared)
        except InvalidRequest as error:
            events.append(Unreadable(error, item.uuid or None))
            continue
        if known.ignore_sent_at:
            uncorrected.append(event)
        if key is None and (own := item.token or item.api_key or item.token_too or known.token):
            keys.add(str(own))
        events.append(event)
    if len(keys) > 1:
        raise Unauthorized("the events of one request must have one API key")
    batch = Batch(events=events, key=keys.pop() if keys else "")
    leave_uncorrected(batch, uncorrected, shared.sent_at)
    return batch


def _translate(item: _Event, known: Known, shared: _Shared) -> Event:
    name = item.event if item.event is not None else shared.name
    if name is None:
        raise InvalidRequest("is missing; text is required", "event")
    distinct_id = item.distinct_id
    if type(distinct_id) is not str or not distinct_id:
        for given in (item.distinct_id, item.distinct_id_too, known.distinct_id):
            if distinct_id := as_text(given, "distinct_id"):
                break
    if not distinct_id:
        raise InvalidRequest("is missing", "distinct_id")
    timestamp, sent_at = item.timestamp, item.sent_at
    if timestamp is None and item.offset is not None:
        # By our clock, so that nothing is to be corrected.
        timestamp, sent_at = shared.now - item.offset, shared.now
    properties = item.properties
    if item.set is not NOTHING or item.set_once is not NOTHING:
        properties = put(properties, _set_members(item))
    return Event(
        event=name,
        distinct_id=distinct_id[:MAX_ID_CHARS],
        event_id=item.uuid,
        timestamp=timestamp,
        sent_at=sent_at,
        anonymous_id=anonymous(known),
        session_id=known.session_id if isinstance(known.session_id, str) else None,
        properties=properties,
        context=shared.caller.context(known.lib, known.lib_version),
    )


def _set_members(item: _Event) -> dict[str, bytes]:
    members = {"$set": item.set, "$set_once": item.set_once}
    return {name: bytes(raw) for name, raw in members.items() if raw is not NOTHING}
