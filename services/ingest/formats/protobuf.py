"""Read and write the messages of `avila.v1.Ingest`.

Messages are parsed here and not by gRPC, which reports an unreadable message as an error of the
server. Per event, in a batch of 100, reading takes 1.2 µs (0.2 µs in protobuf, the rest to make
Python objects) and writing the result takes 0.5 µs.
"""

from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from schemas.avila_pb2 import Event as Message
from schemas.avila_pb2 import TrackRequest, TrackResponse, Verdict
from schemas.errors import InvalidRequest
from schemas.json_text import canonicalize
from services.ingest.events import EMPTY_OBJECT, Batch, Event, EventResult, Unreadable
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.limits import Limits, TooLarge

# No acceptable event is shorter. Shorter ones would take far more memory than bytes.
_MIN_EVENT_BYTES: Final = 8
_OTHER_FIELDS: Final = len(TrackRequest.DESCRIPTOR.fields) - 1
# The wire types of its fields.
_VARINT: Final = 0
_LENGTH_DELIMITED: Final = 2

_NOT_A_REQUEST: Final = "the message is not an avila.v1.TrackRequest"

_VERDICTS: Final = {
    "ok": Verdict.VERDICT_OK,
    "warning": Verdict.VERDICT_WARNING,
    "drop": Verdict.VERDICT_DROP,
    "retry": Verdict.VERDICT_RETRY,
}
_json = msgspec.json.Decoder(msgspec.Raw)


def parse(body: bytes, key: str, limits: Limits) -> Batch:
    """Read the events of a `TrackRequest` that was sent with the write key `key`.

    Raises:
        TooLarge: the message has too many events.
        InvalidRequest: `body` is not a `TrackRequest`.
    """
    if len(body) > _MIN_EVENT_BYTES * limits.max_events:
        _check_count(body, limits.max_events)
    try:
        request = TrackRequest.FromString(body)
    except DecodeError:
        raise InvalidRequest(_NOT_A_REQUEST) from None
    events, notes = [], {}
    for place, message in enumerate(request.events):
        repairs: list[str] = []
        events.append(_read(message, repairs))
        if repairs:
            notes[place] = "; ".join(filter(None, repairs))
    return Batch(
        events=events,
        notes=notes,
        key=key,
        project_id=request.project_id or None,
        sent_at=request.sent_at or None,
    )


def answer(results: list[EventResult]) -> bytes:
    """Return the `TrackResponse` that lists `results` in order."""
    response = TrackResponse()
    add = response.results.add
    for result in results:
        if result.result == "ok" and not result.duplicate:
            add(event_id=result.event_id or "", verdict=Verdict.VERDICT_OK)
        else:
            add(
                event_id=result.event_id or "",
                verdict=_VERDICTS[result.result],
                details=result.details,
                duplicate=result.duplicate,
                field=result.field,
            )
    return response.SerializeToString()


def _read(message: Message, notes: list[str]) -> Event | Unreadable:
    """Return the event of a message, and append to `notes` what was repaired."""
    field = "properties"
    try:
        properties = _read_object(message.properties, notes)
        field = "context"
        context = _read_object(message.context, notes)
    except (*DECODE_ERRORS, ValueError) as error:
        return Unreadable(InvalidRequest(f"is not JSON: {error}", field), message.event_id)
    return Event(
        event=message.event,
        distinct_id=message.distinct_id,
        event_id=message.event_id,
        project_id=message.project_id,
        timestamp=message.timestamp or None,
        sent_at=message.sent_at or None,
        anonymous_id=message.anonymous_id,
        session_id=message.session_id,
        properties=properties,
        context=context,
    )


def _read_object(text: bytes, notes: list[str]) -> msgspec.Raw:
    if not text:
        return EMPTY_OBJECT
    try:
        return _json.decode(text)
    except DECODE_ERRORS:
        canonical = canonicalize(text)
    notes.append(canonical.remarks)
    return msgspec.Raw(canonical.text)


def _check_count(body: bytes, max_events: int) -> None:
    """Raise `TooLarge` if `body` has too many events, without creating any of them."""
    place = 0
    for _ in range(max_events + _OTHER_FIELDS):
        if place >= len(body):
            return
        tag, place = _varint(body, place)
        if tag & 7 == _LENGTH_DELIMITED:
            size, place = _varint(body, place)
            place += size
        elif tag & 7 == _VARINT:
            _, place = _varint(body, place)
        else:
            raise InvalidRequest(_NOT_A_REQUEST)
    if place < len(body):
        raise TooLarge("the message has too many events", "max_events", max_events)


def _varint(body: bytes, place: int) -> tuple[int, int]:
    """Return the number at `place`, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(body):
            break
        byte = body[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise InvalidRequest(_NOT_A_REQUEST)
