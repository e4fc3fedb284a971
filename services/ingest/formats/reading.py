"""Helpers for reading untrusted JSON, shared by the formats.

A request is decoded all at once. If that fails, its events are decoded one by one, so that an
invalid event affects no other: even one that is not JSON, such as Python's NaN.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Generic, TypeVar

import msgspec

from schemas.errors import InvalidRequest
from schemas.json_text import Canonical, Json, canonicalize, is_empty_object
from services.ingest.events import EMPTY_OBJECT, Unreadable
from services.ingest.formats import Request
from services.ingest.json_text import DECODE_ERRORS, split_array, split_object
from services.ingest.limits import TooLarge

T = TypeVar("T")

# Bound of a header value that is copied into every event of a request.
MAX_HEADER_BYTES: Final = 500
# Bound of the invalid JSON in a request that is repaired: Python reads it, slowly.
MAX_REPAIRED_BYTES: Final = 1 << 20

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)
_text = msgspec.json.Decoder(str | None)


def user_agent(request: Request) -> str:
    """Return the `User-Agent` header, cut to the size that each event may carry."""
    given = request.headers.get(b"user-agent", b"")
    return given[:MAX_HEADER_BYTES].decode("latin-1")


def read_members(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object; the values need not be valid JSON.

    Raises:
        DECODE_ERRORS: `text` is not an object even then.
    """
    try:
        return _fields.decode(text)
    except DECODE_ERRORS:
        members = split_object(bytes(text))
        if members is None:
            raise
    return {name: msgspec.Raw(value) for name, value in members.items()}


def read_items(text: bytes | msgspec.Raw, max_events: int) -> list[msgspec.Raw]:
    """Return the items of an array; they need not be valid JSON.

    Raises:
        DECODE_ERRORS: `text` is not an array even then.
        TooLarge: there are more than `max_events` and one of them is not valid.
    """
    try:
        return _raws.decode(text)
    except DECODE_ERRORS:
        items = split_array(bytes(text), max_events)
        if items is None:
            raise
    if len(items) > max_events:
        raise TooLarge(f"more than {max_events} events in one request", "max_events", max_events)
    return list(map(msgspec.Raw, items))


class EventReader(Generic[T]):
    """Decodes the events of one request one by one.

    `lenient` decodes events that `decoder` refuses and that are to be taken with a note.

    Attributes:
        notes: warnings about what was ignored or repaired, by index of the event.
    """

    def __init__(
        self,
        decoder: msgspec.json.Decoder[T],
        id_field: str,
        lenient: msgspec.json.Decoder[T] | None = None,
    ) -> None:
        self.notes: dict[int, str] = {}
        self._decoder = decoder
        self._id_field = id_field
        self._lenient = lenient
        self._repairable = MAX_REPAIRED_BYTES

    def read_all(self, raws: Iterable[bytes | msgspec.Raw]) -> list[T | Unreadable]:
        """Return each event decoded, or why it cannot be."""
        events: list[T | Unreadable] = []
        for place, raw in enumerate(raws):
            event, note = self._read(raw)
            if note:
                self.notes[place] = note
            events.append(event)
        return events

    def _read(self, raw: bytes | msgspec.Raw) -> tuple[T | Unreadable, str]:
        try:
            return self._decode(raw)
        except DECODE_ERRORS as error:
            try:
                repaired = self._repair(bytes(raw))
            except (ValueError, RecursionError):
                return unreadable(raw, error, self._id_field), ""
        try:
            event, note = self._decode(repaired.text)
        except DECODE_ERRORS as error:
            return unreadable(repaired.text, error, self._id_field), ""
        return event, "; ".join(filter(None, (note, repaired.remarks)))

    def _decode(self, raw: bytes | msgspec.Raw) -> tuple[T, str]:
        try:
            return self._decoder.decode(raw), ""
        except DECODE_ERRORS as error:
            if self._lenient is None:
                raise
            return self._lenient.decode(raw), f"{error}; ignored"

    def _repair(self, text: bytes) -> Canonical:
        self._repairable -= len(text)
        if self._repairable < 0:
            raise ValueError("there is too much to repair")
        return canonicalize(text)


def repaired(raw: msgspec.Raw) -> msgspec.Raw:
    """Return `raw` if it is valid JSON, else its canonical form, or an empty object without one."""
    try:
        return _any.decode(raw)
    except DECODE_ERRORS:
        pass
    try:
        return msgspec.Raw(canonicalize(bytes(raw)[:MAX_REPAIRED_BYTES]).text)
    except (ValueError, RecursionError):
        return EMPTY_OBJECT


def unreadable(raw: bytes | msgspec.Raw, error: Exception, id_field: str) -> Unreadable:
    """Return an event that could not be decoded: the reason, and its id if that can be read."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        message, field = "is missing; text is required", missing[1]
    event_id = None
    try:
        event_id = _text.decode(read_members(raw).get(id_field, b"null"))
    except DECODE_ERRORS:
        message = message or "cannot be read"
    return Unreadable(InvalidRequest(message, field), event_id)


def with_members(raw: msgspec.Raw, members: Mapping[str, bytes]) -> msgspec.Raw:
    """Return the object `raw` with `members` (JSON texts) added; its own members win.

    Returns anything but an object unchanged: the pipeline refuses it. Concatenates text without
    parsing it, unless one of the names occurs in it.
    """
    text = b"{}" if is_empty_object(bytes(raw)) else bytes(raw)
    if not text.startswith(b"{"):
        return raw
    if b"\\u" in text or any(_quote(name) in text for name in members):
        try:
            own = _fields.decode(text)
        except DECODE_ERRORS:
            return raw
        members = {name: value for name, value in members.items() if name not in own}
        if not members:
            return raw
    parts = [b"%b:%b" % (_quote(name), value) for name, value in members.items()]
    rest = text[1:].lstrip()
    if rest != b"}":
        parts.append(rest[:-1])
    return msgspec.Raw(b"{" + b",".join(parts) + b"}")


def id_as_text(value: Json, field: str) -> str | None:
    """Return an id as text: SDKs send numbers, and some send any JSON. None stays None.

    Raises:
        InvalidRequest: the value is a number too large to write.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except OverflowError:
        raise InvalidRequest("is not an id: the number is too large", field) from None


@lru_cache(maxsize=1_024)
def _quote(name: str) -> bytes:
    return msgspec.json.encode(name)


def decode_or_none(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw | None) -> T | None:
    """Decode an optional member; return None if it is absent or of the wrong type."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except DECODE_ERRORS:
        return None
