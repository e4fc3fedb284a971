"""Helpers for reading untrusted JSON, shared by the formats."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.events import EMPTY_OBJECT, Unreadable
from services.ingest.formats import Request
from services.ingest.json_text import DECODE_ERRORS, Json

_T = TypeVar("_T")

# Bound of a header value that is copied into every event of a request.
MAX_HEADER_BYTES: Final = 500

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)


def user_agent(request: Request) -> str:
    """Return the `User-Agent` header, cut to the size that each event may carry."""
    given = request.headers.get(b"user-agent", b"")
    return given[:MAX_HEADER_BYTES].decode("latin-1")


def unreadable(raw: bytes | msgspec.Raw, error: Exception, id_field: str) -> Unreadable:
    """Return an event that could not be decoded: the reason, and its id if that can be read."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        message, field = "is missing; text is required", missing[1]
    event_id = None
    try:
        event_id = _text.decode(_fields.decode(raw).get(id_field, b"null"))
    except DECODE_ERRORS:
        message = message or "cannot be read"
    return Unreadable(InvalidRequest(message, field), event_id)


def with_members(raw: msgspec.Raw, members: Mapping[str, bytes]) -> msgspec.Raw:
    """Return the object `raw` with `members` (JSON texts) added; its own members win.

    Returns anything but an object unchanged: the pipeline refuses it. Concatenates text without
    parsing it, unless one of the names occurs in it.
    """
    text = b"{}" if raw is EMPTY_OBJECT else bytes(raw)
    if text == b"null":
        text = b"{}"
    if not text.startswith(b"{"):
        return raw
    if b"\\u" in text or any(_quote(name) in text for name in members):
        own = _fields.decode(text)
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


def decode_or_none(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw | None) -> _T | None:
    """Decode an optional member; return None if it is absent or of the wrong type."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except DECODE_ERRORS:
        return None
