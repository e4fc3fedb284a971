"""Read bodies and messages of the native format into batches."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, NamedTuple, overload

import msgspec

from schemas.errors import InvalidRequest, Unauthorized
from schemas.json_text import BYTE_ORDER_MARK
from services.ingest.encodings import UnsupportedMedia
from services.ingest.events import Batch, Event, Time, Unreadable
from services.ingest.fast_path.batch import MIN_BATCH
from services.ingest.fast_path.scan import MIN_EVENT_BYTES, scan
from services.ingest.formats import Request
from services.ingest.formats.reading import EventReader, read_items, read_members
from services.ingest.json_text import DECODE_ERRORS, split_object
from services.ingest.limits import Limits

_NDJSON: Final = {"application/x-ndjson", "application/ndjson", "application/jsonl"}
# Beside JSON's own, the types that clients send unless told: fetch and beacons text/plain, curl a
# form.
_JSON: Final = {"", "application/json", "text/plain", "application/x-www-form-urlencoded"}

_MIN_SCAN_BYTES: Final = MIN_BATCH * MIN_EVENT_BYTES


class _Head(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    sent_at: Time = None
    project_id: str | None = None
    write_key: str | None = None


class _Body(_Head, kw_only=True, forbid_unknown_fields=True):
    events: list[Event]


class _RawBody(_Head, kw_only=True, forbid_unknown_fields=True):
    """A body whose events are not decoded yet."""

    events: msgspec.Raw


# Whole numbers that every JSON reader keeps exactly.
_Id = (
    Annotated[str, msgspec.Meta(max_length=100)]
    | Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
)


class _Message(_Body, kw_only=True, forbid_unknown_fields=True):
    id: _Id | None = None


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    write_key: str


class _LenientEvent(Event, kw_only=True, gc=False, forbid_unknown_fields=False):
    """An event whose unknown fields are ignored."""


_body = msgspec.json.Decoder(_Body)
_raw_body = msgspec.json.Decoder(_RawBody)
_message = msgspec.json.Decoder(_Message)
_credential = msgspec.json.Decoder(_Credential)
_id = msgspec.json.Decoder(_Id | None)
_array = msgspec.json.Decoder(list[Event])
_event = msgspec.json.Decoder(Event)
_lenient_event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(_LenientEvent)
_time = msgspec.json.Decoder(Time)
_text = msgspec.json.Decoder(str | None)
_any = msgspec.json.Decoder(msgspec.Raw)


class Message(NamedTuple):
    """A message of a WebSocket: its id, and its batch or why it has none."""

    id: str | int | None
    batch: Batch | InvalidRequest


def read_message(body: bytes, limits: Limits) -> Message:
    """Read a message; the batch's key is the message's own, "" without one."""
    body = body.removeprefix(BYTE_ORDER_MARK)
    try:
        whole = _message.decode(body)
    except DECODE_ERRORS:
        return _read_message_members(body, limits.max_events)
    return Message(whole.id, _batch(whole, whole.events))


def read_credential(body: bytes) -> str:
    """Read the message that holds only the write key.

    Raises:
        Unauthorized: the message is anything else.
    """
    try:
        return _credential.decode(body.removeprefix(BYTE_ORDER_MARK)).write_key
    except DECODE_ERRORS as error:
        raise Unauthorized(
            f'send {{"write_key": "…"}} first, or the key in `Authorization`: {error}'
        ) from None


def read_body(request: Request) -> Batch:
    """Read the events of a request: all at once if all are valid, else one by one.

    Raises:
        UnsupportedMedia: the content type is not supported.
        InvalidRequest: the body as a whole cannot be read.
    """
    body, content_type = request.body, request.content_type
    if content_type in _NDJSON:
        return _read_lines(request)
    if content_type not in _JSON and not content_type.endswith("+json"):
        raise UnsupportedMedia(
            f"{content_type[:60]!r} is not a supported format; accepted are application/json "
            "and application/x-ndjson",
            "Content-Type",
        )
    is_array = body.lstrip()[:1] == b"["
    if len(body) >= _MIN_SCAN_BYTES and (batch := _scan(body, is_array)):
        return batch
    try:
        if is_array:
            return Batch(events=_array.decode(body))
        whole = _body.decode(body)
    except DECODE_ERRORS:
        return _read_array(body, request.limits.max_events) if is_array else _read_object(request)
    return _batch(whole, whole.events)


def _read_message_members(body: bytes, max_events: int) -> Message:
    try:
        fields = read_members(body)
    except DECODE_ERRORS as error:
        return Message(None, InvalidRequest(f"the message is not a JSON object: {error}"))
    try:
        message_id = _id.decode(fields.pop("id", b"null"))
    except DECODE_ERRORS as error:
        return Message(None, InvalidRequest(str(error), "id"))
    if "events" not in fields:
        missing = InvalidRequest("is missing; an array of events is required", "events")
        return Message(message_id, missing)
    try:
        return Message(message_id, _read_members(fields, max_events))
    except InvalidRequest as error:
        return Message(message_id, error)


def _scan(body: bytes, is_array: bool) -> Batch | None:
    """Find the events without decoding them; None unless all are usual."""
    try:
        head = _RawBody(events=_any.decode(body)) if is_array else _raw_body.decode(body)
    except DECODE_ERRORS:
        return None
    columns = scan(head.events)
    if columns is None:
        return None
    batch = _batch(head, _LazyEvents(head.events, len(columns.times)))
    batch.columns = columns
    return batch


class _LazyEvents(Sequence[Event]):
    """Events of a JSON array, which is decoded when the first event is asked for."""

    def __init__(self, array: msgspec.Raw, size: int) -> None:
        self._array = array
        self._size = size
        self._events: list[Event] = []

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> Event: ...

    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...

    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        self._events = self._events or _array.decode(self._array)
        return self._events[place]


def _batch(head: _Head, events: Sequence[Event]) -> Batch:
    return Batch(
        events=events,
        key=head.write_key or "",
        project_id=head.project_id,
        sent_at=head.sent_at,
    )


def _read_object(request: Request) -> Batch:
    """Read a body that is a single event, or has events or members that are not valid."""
    try:
        fields = read_members(request.body)
    except DECODE_ERRORS as error:
        first, _, more = request.body.partition(b"\n")
        if more and split_object(first) is not None:
            return _read_lines(request)
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if "events" in fields:
        return _read_members(fields, request.limits.max_events)
    body = request.body
    key = _read_text(fields, "write_key") or ""
    if key:
        del fields["write_key"]
        body = _join_members(fields)
    batch = _read_each([body])
    batch.key = key
    return batch


def _join_members(fields: dict[str, msgspec.Raw]) -> bytes:
    members = (b"%b:%b" % (msgspec.json.encode(name), bytes(raw)) for name, raw in fields.items())
    return b"{%b}" % b",".join(members)


def _read_members(fields: dict[str, msgspec.Raw], max_events: int) -> Batch:
    """Read the members of an object that has `events`; unknown members are ignored and noted."""
    key = _read_text(fields, "write_key") or ""
    unknown = fields.keys() - set(_Body.__struct_fields__)
    notes = [f"{name[:40]}: an unknown field, ignored" for name in sorted(unknown)]
    sent_at: Time = None
    try:
        sent_at = _time.decode(fields.get("sent_at", b"null"))
    except DECODE_ERRORS as error:
        notes.append(f"sent_at: {error}; ignored")
    project_id = _read_text(fields, "project_id")
    batch = _read_array(fields["events"], max_events, "events")
    batch.key = key
    batch.project_id = project_id
    batch.sent_at = sent_at
    for place in range(len(batch.events)) if notes else ():
        batch.notes[place] = "; ".join(filter(None, (*notes, batch.notes.get(place))))
    return batch


def _read_text(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    try:
        text: str | None = _text.decode(fields.get(name, b"null"))
    except DECODE_ERRORS as error:
        raise InvalidRequest(str(error), name) from None
    return text


def _read_array(body: bytes | msgspec.Raw, max_events: int, field: str = "") -> Batch:
    try:
        raws = read_items(body, max_events)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an array of events: {error}", field) from None
    return _read_each(raws)


def _read_lines(request: Request) -> Batch:
    try:
        return Batch(events=_event.decode_lines(request.body))
    except DECODE_ERRORS:
        lines = [line for line in request.body.splitlines() if line.strip()]
    batch = _read_each(lines)
    if all(isinstance(event, Unreadable) for event in batch.events) and not any(
        map(_is_json, lines)
    ):
        raise InvalidRequest("the body has no line that is JSON")
    return batch


def _read_each(raws: Iterable[bytes | msgspec.Raw]) -> Batch:
    reader = EventReader[Event](_event, "event_id", _lenient_event)
    return Batch(events=reader.read_all(raws), notes=reader.notes)


def _is_json(text: bytes) -> bool:
    try:
        _any.decode(text)
    except DECODE_ERRORS:
        return False
    return True
