"""What doors share in reading JSON that anybody may send."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.events import NOTHING, Unreadable
from services.ingest.formats import Request

_T = TypeVar("_T")

# What reading what anybody may send raises; the last for text that is nested too deeply.
BAD: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Of a header that every event of a request gets a copy of.
MAX_HEADER_BYTES: Final = 500

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)


def user_agent(request: Request) -> str:
    """Return what the sender says it is; so much of it that every event may carry it."""
    given = request.headers.get(b"user-agent", b"")
    return given[:MAX_HEADER_BYTES].decode("latin-1")


def unreadable(raw: bytes | msgspec.Raw, error: Exception, id_field: str) -> Unreadable:
    """Say what is wrong with one event, and what its sender calls it as far as that can be read."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        message, field = "is missing; text is required", missing[1]
    event_id = None
    try:
        event_id = _text.decode(_fields.decode(raw).get(id_field, b"null"))
    except BAD:
        message = message or "cannot be read"
    return Unreadable(InvalidRequest(message, field), event_id)


def put(raw: msgspec.Raw, members: Mapping[str, bytes]) -> msgspec.Raw:
    """Return the object `raw` with `members`, which are JSON; what it has of their names it keeps.

    What is not an object is returned as it is: the path says what is wrong with it. Its text is
    joined, not parsed, unless one of the names occurs in it.
    """
    text = b"{}" if raw is NOTHING else bytes(raw)
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


def as_text(value: Any, field: str) -> str | None:
    """Return an id as text: SDKs send numbers, and some of them anything. Nothing stays nothing.

    Raises:
        InvalidRequest: it is a number out of all bounds.
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


def lenient(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw | None) -> _T | None:
    """Return what of a request may be missing, so that a wrong one is as good as none."""
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except BAD:
        return None
