"""Snowplow's collector: a POST with what trackers say of some events, or a pixel with one event.

What is said of an event is text by short keys, in JSON or in the address, and read in
`snowplow_payload`. Bodies are `{"schema": …, "data": [{"e": "pv", …}, …]}`.

Trackers know no keys. They have an `aid` that says which application it is, so the write key is
that of the events, or the user of `Authorization: Basic`, which an address can have; else a
`Bearer`.

The reply is the text `ok`, or an image. Trackers look at the status alone, and send all of it again
unless that is 2xx, 400, 401, 403, 410 or 422; the one in Go, unless it is 2xx or 3xx. So an event
that is dropped for good is no error, as it is none for Snowplow's collector: the reply says which
it was. And there is no 413 and no 415, which would come back for ever.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from schemas.errors import AvilaError, BackOff, InvalidRequest, Unauthorized
from services.ingest.body import TooSlow
from services.ingest.events import Batch, Event, Result, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import dropped, failure
from services.ingest.formats.reading import BAD, as_text, unreadable, user_agent
from services.ingest.formats.snowplow_payload import Payload, translate
from services.ingest.refusals import refuse

# Transparent, and one by one.
_GIF: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)


class _Post(msgspec.Struct):
    data: list[Payload]


_post = msgspec.json.Decoder(_Post)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_anything = msgspec.json.Decoder(dict[str, Any])

_TAKEN: Final = Answer(200, b"ok", "text/plain")
_PIXEL: Final = Answer(200, _GIF, "image/gif")


class Snowplow:
    """`POST /com.snowplowanalytics.snowplow/tp2`."""

    name = "snowplow"
    methods = frozenset({"POST"})
    paths: tuple[str, ...] = ("/com.snowplowanalytics.snowplow/tp2",)

    def parse(self, request: Request) -> Batch:
        """Read the payloads: all at once if all are right, else each by itself."""
        try:
            payloads: Iterable[Payload | Unreadable] = _post.decode(request.body).data
        except BAD:
            payloads = _read_carefully(request.body)
        return _translate_all(payloads, request)

    def answer(self, _: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Tell that all is well, and what was dropped; or that all is to be sent again."""
        error = failure(results, retry_after_s)
        if isinstance(error, BackOff):
            return self.refuse(error)
        if drops := dropped(results):
            return Answer(200, msgspec.json.encode({"dropped": drops}))
        return _TAKEN

    def refuse(self, error: AvilaError) -> Answer:
        """Say it with a status that brings nothing back but what may be taken then."""
        answer = refuse(error)
        if isinstance(error, InvalidRequest) and not isinstance(error, TooSlow):
            return msgspec.structs.replace(answer, status=HTTPStatus.BAD_REQUEST)
        return answer


class SnowplowPixel(Snowplow):
    """`GET /i?…`, of which some trackers make an image, and take a broken one for a failure."""

    name = "snowplow_pixel"
    methods = frozenset({"GET"})
    paths = ("/i",)

    def parse(self, request: Request) -> Batch:
        """Read the payload of one event."""
        return _translate_all([dict(parse_qsl(request.query.decode("latin-1")))], request)

    def answer(self, batch: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """Answer with an image, unless it is to be sent again."""
        answer = super().answer(batch, results, retry_after_s)
        return _PIXEL if answer.status == HTTPStatus.OK else answer


def _read_carefully(body: bytes) -> list[Payload | Unreadable]:
    """Read a body that is not as it should be: what is wrong with one event harms no other."""
    try:
        fields = _fields.decode(body)
        if "data" not in fields:
            raise InvalidRequest("is missing; an array of events is required", "data")
        raws = _raws.decode(fields["data"])
    except BAD as error:
        raise InvalidRequest(f"the body cannot be read as events: {error}") from None
    return [_read(raw) for raw in raws]


def _read(raw: msgspec.Raw) -> Payload | Unreadable:
    """Read an event whose values are not all text, as no tracker sends it, but people do."""
    try:
        fields = _anything.decode(raw)
        texts = {name: as_text(value, name) for name, value in fields.items()}
    except BAD as error:
        return unreadable(raw, error, "eid")
    except InvalidRequest as error:
        return Unreadable(error)
    return {name: text for name, text in texts.items() if text is not None}


def _translate_all(payloads: Iterable[Payload | Unreadable], request: Request) -> Batch:
    scheme, key = read_authorization(request.headers)
    caller = _caller(request)
    apps = set()
    events: list[Event | Unreadable] = []
    for payload in payloads:
        if isinstance(payload, Unreadable):
            events.append(payload)
            continue
        if app := payload.get("aid"):
            apps.add(app)
        events.append(translate(payload, caller))
    if apps and not (scheme == "basic" and key):
        if len(apps) > 1:
            raise Unauthorized("the events of one request must have one app id (aid)")
        key = apps.pop()
    return Batch(events=events, key=key)


def _caller(request: Request) -> dict[str, bytes]:
    """Return what an event's context gets from its sender, unless the event says it."""
    caller = {}
    if request.client_ip and b"sp-anonymous" not in request.headers:
        caller["ip"] = msgspec.json.encode(request.client_ip)
    if agent := user_agent(request):
        caller["userAgent"] = msgspec.json.encode(agent)
    return caller
