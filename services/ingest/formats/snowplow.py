"""Snowplow's format: a POST with several events, or a pixel with one event in its address.

The body is `{"schema": …, "data": [{"e": "pv", …}, …]}`. An event is a map of short keys to text,
which `snowplow_payload` translates.

Trackers have no write keys, but each event names its application in `aid`. The write key is the
user of `Authorization: Basic`, which an address can carry; else the `aid` of the events; else a
`Bearer`.

The answer is the text `ok`, or an image. Trackers read only the status, and send the request again
unless it is 2xx, 400, 401, 403, 410 or 422; the Go tracker, unless it is 2xx or 3xx. So dropped
events leave the answer 200, as in Snowplow's own collector, and the body lists them. 413 and 415
are never used: trackers would repeat such requests for ever.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from schemas.errors import AvilaError, BackOff, InvalidRequest, Unauthorized
from schemas.json_text import Json
from services.ingest.body import TooSlow
from services.ingest.events import Batch, Event, EventResult, Unreadable
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import read_authorization
from services.ingest.formats.outcome import failure, remarks
from services.ingest.formats.reading import (
    EventReader,
    id_as_text,
    read_items,
    read_members,
    user_agent,
)
from services.ingest.formats.snowplow_payload import Payload, translate
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.refusals import refuse

# A transparent image of one pixel.
_GIF: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)


class _Post(msgspec.Struct):
    data: list[Payload]


_post = msgspec.json.Decoder(_Post)
_values = msgspec.json.Decoder(dict[str, Json])

_SUCCESS: Final = Answer(200, b"ok", "text/plain")
_PIXEL: Final = Answer(200, _GIF, "image/gif")


class Snowplow:
    """`POST /com.snowplowanalytics.snowplow/tp2`."""

    name = "snowplow"
    methods = frozenset({"POST"})
    paths: tuple[str, ...] = ("/com.snowplowanalytics.snowplow/tp2",)

    def parse(self, request: Request) -> Batch:
        """Read the payloads: all at once if all are valid, else one by one."""
        reader = EventReader(_values, "eid")
        try:
            payloads: Iterable[Payload | Unreadable] = _post.decode(request.body).data
        except DECODE_ERRORS:
            payloads = _read_each(request, reader)
        batch = _translate_all(payloads, request)
        batch.notes = reader.notes
        return batch

    def answer(self, _: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer `ok` or remarks; 503 if the request is to be sent again."""
        error = failure(results, retry_after_s)
        if isinstance(error, BackOff):
            return self.refuse(error)
        if members := remarks(results):
            return Answer(200, msgspec.json.encode(members))
        return _SUCCESS

    def refuse(self, error: AvilaError) -> Answer:
        """Answer with a status that trackers repeat only if repeating can succeed."""
        answer = refuse(error)
        if isinstance(error, InvalidRequest) and not isinstance(error, TooSlow):
            return msgspec.structs.replace(answer, status=HTTPStatus.BAD_REQUEST)
        return answer


class SnowplowPixel(Snowplow):
    """`GET /i?…`. Some trackers load it as an image, and take a broken image for a failure."""

    name = "snowplow_pixel"
    methods = frozenset({"GET"})
    paths = ("/i",)

    def parse(self, request: Request) -> Batch:
        """Read the payload of one event."""
        return _translate_all([dict(parse_qsl(request.query.decode("latin-1")))], request)

    def answer(self, batch: Batch, results: list[EventResult], retry_after_s: float) -> Answer:
        """Answer with an image, unless the request is to be sent again."""
        answer = super().answer(batch, results, retry_after_s)
        return _PIXEL if answer.status == HTTPStatus.OK else answer


def _read_each(
    request: Request, reader: EventReader[dict[str, Json]]
) -> list[Payload | Unreadable]:
    """Read the payloads of a body one by one, so that an invalid one affects no other."""
    try:
        fields = read_members(request.body)
        if "data" not in fields:
            raise InvalidRequest("is missing; an array of events is required", "data")
        raws = read_items(fields["data"], request.limits.max_events)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"the body cannot be read as events: {error}") from None
    return [_as_texts(item) for item in reader.read_all(raws)]


def _as_texts(item: dict[str, Json] | Unreadable) -> Payload | Unreadable:
    """Return a payload whose values need not be text: those of hand-written requests are not."""
    if isinstance(item, Unreadable):
        return item
    try:
        texts = {name: id_as_text(value, name) for name, value in item.items()}
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
    """Return members of the context that come from the request unless the event has them."""
    caller = {}
    if request.client_ip and b"sp-anonymous" not in request.headers:
        caller["ip"] = msgspec.json.encode(request.client_ip)
    if agent := user_agent(request):
        caller["userAgent"] = msgspec.json.encode(agent)
    return caller
