"""Our own format: JSON or NDJSON in, a result for each event out.

    {"events": [{"event": "purchase", "distinct_id": "u1", …}, …], "sent_at": …, "project_id": …}

or an array of events, or one event, or one event a line. The write key is the object's `write_key`,
since a beacon can send only a body, or in the `Authorization` header. On a WebSocket a message is
the object, with an `id` of the sender's.
"""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, overload

import msgspec

from schemas.errors import AvilaError, InvalidRequest, Unauthorized
from services.ingest.body import UnsupportedMedia
from services.ingest.events import Batch, Event, Result, Time, Unreadable
from services.ingest.fast_path.batch import WORTH
from services.ingest.fast_path.scan import SHORTEST, scan
from services.ingest.formats import Answer, Request
from services.ingest.formats.credentials import key_in
from services.ingest.formats.reading import BAD, unreadable
from services.ingest.refusals import refuse

_LINES: Final = {"application/x-ndjson", "application/ndjson", "application/jsonl"}
# What tools send that were not told: fetch and beacons the second but last, curl the last.
_JSON: Final = {"", "application/json", "text/plain", "application/x-www-form-urlencoded"}

_LEAST_TO_SCAN: Final = WORTH * SHORTEST  # bytes


class _Head(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    sent_at: Time = None
    project_id: str | None = None
    write_key: str | None = None


class _Body(_Head, kw_only=True, forbid_unknown_fields=True):
    events: list[Event]


class _Envelope(_Head, kw_only=True, forbid_unknown_fields=True):
    events: msgspec.Raw


# Within what JSON's readers everywhere take for one number.
_Id = (
    Annotated[str, msgspec.Meta(max_length=100)]
    | Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
)


class _Message(_Body, kw_only=True, forbid_unknown_fields=True):
    id: _Id | None = None


class _Credential(msgspec.Struct, forbid_unknown_fields=True):
    write_key: str


class _Tolerant(Event, kw_only=True, gc=False, forbid_unknown_fields=False):
    """An event whose unknown fields are skipped."""


_body = msgspec.json.Decoder(_Body)
_envelope = msgspec.json.Decoder(_Envelope)
_message = msgspec.json.Decoder(_Message)
_credential = msgspec.json.Decoder(_Credential)
_id = msgspec.json.Decoder(_Id | None)
_array = msgspec.json.Decoder(list[Event])
_event = msgspec.json.Decoder(Event)
_tolerant = msgspec.json.Decoder(_Tolerant)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_time = msgspec.json.Decoder(Time)
_text = msgspec.json.Decoder(str | None)
_any = msgspec.json.Decoder(msgspec.Raw)


class Native:
    """`POST /v1/events`."""

    name = "native"
    methods = frozenset({"POST"})
    paths = ("/v1/events",)

    def parse(self, request: Request) -> Batch:
        """Read the events, and the key: the body's, if there are two."""
        batch = _read(request)
        batch.key = batch.key or key_in(request.headers)
        return batch

    def answer(self, _: Batch, results: list[Result], retry_after_s: float) -> Answer:
        """List the results in the order of the events."""
        retries = sum(result.result == "retry" for result in results)
        return Answer(
            status=503 if retries and retries == len(results) else 200,
            body=msgspec.json.encode({"results": results}),
            retry_after_s=retry_after_s if retries else 0,
        )

    def refuse(self, error: AvilaError) -> Answer:
        """Say it in the shape that all our services share."""
        return refuse(error)


class Message(NamedTuple):
    """A message of a WebSocket: what its sender calls it, and its batch or why it has none."""

    id: str | int | None
    batch: Batch | InvalidRequest


def read_message(body: bytes) -> Message:
    """Read a batch, all at once if it is all right; the key is the message's, "" without one."""
    try:
        whole = _message.decode(body)
    except BAD:
        return _read_patiently(body)
    return Message(whole.id, _batch(whole, whole.events))


def read_credential(body: bytes) -> str:
    """Read the message that has nothing but the write key.

    Raises:
        Unauthorized: it is none.
    """
    try:
        return _credential.decode(body).write_key
    except BAD as error:
        raise Unauthorized(
            f'send {{"write_key": "…"}} first, or the key in `Authorization`: {error}'
        ) from None


def _read_patiently(body: bytes) -> Message:
    try:
        fields = _fields.decode(body)
    except BAD as error:
        return Message(None, InvalidRequest(f"the message is not a JSON object: {error}"))
    try:
        name = _id.decode(fields.pop("id", b"null"))
    except BAD as error:
        return Message(None, InvalidRequest(str(error), "id"))
    if "events" not in fields:
        return Message(name, InvalidRequest("is missing; an array of events is required", "events"))
    try:
        return Message(name, _read_members(fields))
    except InvalidRequest as error:
        return Message(name, error)


def _read(request: Request) -> Batch:
    """Read the events: all at once if all are right, else each by itself."""
    body, kind = request.body, request.content_type
    if kind in _LINES:
        return _read_lines(request)
    if kind not in _JSON and not kind.endswith("+json"):
        raise UnsupportedMedia(
            f"{kind[:60]!r} is not a format that is understood; accepted are application/json "
            "and application/x-ndjson",
            "Content-Type",
        )
    is_array = body.lstrip()[:1] == b"["
    if len(body) >= _LEAST_TO_SCAN and (batch := _scan(body, is_array)):
        return batch
    try:
        if is_array:
            return Batch(events=_array.decode(body))
        whole = _body.decode(body)
    except BAD:
        return _read_array(body) if is_array else _read_object(request)
    return _batch(whole, whole.events)


def _scan(body: bytes, is_array: bool) -> Batch | None:
    """Find the events without reading them, if all are as they nearly always are."""
    try:
        head = _Envelope(events=_any.decode(body)) if is_array else _envelope.decode(body)
    except BAD:
        return None
    columns = scan(head.events)
    if columns is None:
        return None
    batch = _batch(head, _Unread(head.events, len(columns.times)))
    batch.columns = columns
    return batch


class _Unread(Sequence[Event]):
    """Events that have been found in an array; read when the first of them is asked for."""

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
    """Read a body that is one event, or events with something wrong or unknown about them."""
    try:
        fields = _fields.decode(request.body)
    except BAD as error:
        first, _, more = request.body.partition(b"\n")
        if more and _is_json(first):
            return _read_lines(request)
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    if "events" in fields:
        return _read_members(fields)
    body = request.body
    key = _read_text(fields, "write_key") or ""
    if key:
        del fields["write_key"]
        body = msgspec.json.encode(fields)
    batch = _one_by_one([body])
    batch.key = key
    return batch


def _read_members(fields: dict[str, msgspec.Raw]) -> Batch:
    """Read the members of an object that has `events`, passing over what is unknown."""
    key = _read_text(fields, "write_key") or ""
    unknown = fields.keys() - set(_Body.__struct_fields__)
    notes = [f"{name[:40]}: an unknown field, ignored" for name in sorted(unknown)]
    sent_at: Time = None
    try:
        sent_at = _time.decode(fields.get("sent_at", b"null"))
    except BAD as error:
        notes.append(f"sent_at: {error}; ignored")
    project_id = _read_text(fields, "project_id")
    batch = _read_array(fields["events"], "events")
    batch.key = key
    batch.project_id = project_id
    batch.sent_at = sent_at
    for place in range(len(batch.events)) if notes else ():
        batch.notes[place] = "; ".join(filter(None, (*notes, batch.notes.get(place))))
    return batch


def _read_text(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    try:
        text: str | None = _text.decode(fields.get(name, b"null"))
    except BAD as error:
        raise InvalidRequest(str(error), name) from None
    return text


def _read_array(body: bytes | msgspec.Raw, field: str = "") -> Batch:
    try:
        raws = _raws.decode(body)
    except BAD as error:
        raise InvalidRequest(f"cannot be read as an array of events: {error}", field) from None
    return _one_by_one(raws)


def _read_lines(request: Request) -> Batch:
    try:
        return Batch(events=_event.decode_lines(request.body))
    except BAD:
        lines = [line for line in request.body.splitlines() if line.strip()]
    batch = _one_by_one(lines)
    if not any(map(_is_json, lines)):
        raise InvalidRequest("the body has no line that is JSON")
    return batch


def _one_by_one(raws: list[bytes] | list[msgspec.Raw]) -> Batch:
    events: list[Event | Unreadable] = []
    notes: dict[int, str] = {}
    for place, raw in enumerate(raws):
        try:
            events.append(_event.decode(raw))
        except BAD as strict:
            try:
                events.append(_tolerant.decode(raw))
                notes[place] = f"{strict}; ignored"
            except BAD as error:
                events.append(unreadable(raw, error, "event_id"))
    return Batch(events=events, notes=notes)


def _is_json(text: bytes) -> bool:
    try:
        _any.decode(text)
    except BAD:
        return False
    return True
