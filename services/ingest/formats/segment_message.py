"""Translate one message of Segment's format; the table of fields is in `segment.py`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from schemas.errors import InvalidRequest
from schemas.json_text import Json, is_empty_object
from services.ingest.events import EMPTY_OBJECT, Event, Time, Unreadable
from services.ingest.formats import Request
from services.ingest.formats.reading import id_as_text, user_agent, with_members
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.limits import TooLarge

_Id = str | int | float | None


class SegmentMessage(msgspec.Struct, gc=False, rename="camel"):
    """The fields of a message that mean something here."""

    type: str | None = None
    event: str | None = None
    user_id: _Id = None
    anonymous_id: _Id = None
    message_id: str | None = None
    timestamp: Time = None
    original_timestamp: Time = None
    sent_at: Time = None
    properties: msgspec.Raw = EMPTY_OBJECT
    traits: msgspec.Raw = EMPTY_OBJECT
    context: msgspec.Raw = EMPTY_OBJECT
    integrations: msgspec.Raw = EMPTY_OBJECT
    name: str | None = None
    category: str | None = None
    group_id: _Id = None
    previous_id: _Id = None
    write_key: str | None = None


class _Context(msgspec.Struct, rename="camel"):
    """The members of a context that mean something here; each may have any type."""

    direct: Json = None
    session_id: Json = None
    traits: msgspec.Raw = EMPTY_OBJECT


class SharedFields(msgspec.Struct):
    """What the messages of one request share.

    `kind` is the type of all messages, "" if each names its own. `context` has the members of the
    batch's context, and `caller` those that a direct caller's context gets. `completed` caches
    completed contexts by context and integrations: most messages have the same.
    """

    kind: str
    context: Mapping[str, bytes]
    integrations: msgspec.Raw
    caller: Mapping[str, bytes]
    completed: dict[tuple[bytes, bytes], tuple[msgspec.Raw, str | None]]


_context = msgspec.json.Decoder(_Context)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def share(
    request: Request, kind: str, context: msgspec.Raw, integrations: msgspec.Raw, count: int
) -> SharedFields:
    """Return what `count` messages share.

    Raises:
        TooLarge: the context would take too much memory once each message has it.
        DECODE_ERRORS: the context cannot be read.
    """
    text = b"" if context is EMPTY_OBJECT else bytes(context)
    if size := count * (len(text) + len(bytes(integrations))):
        limit = request.limits.max_body_bytes
        if size > limit:
            raise TooLarge(
                f"the batch's context adds {size} bytes to its {count} messages",
                "max_body_bytes",
                limit,
                "context",
            )
        request.grow(size)
    return SharedFields(
        kind=kind,
        context=(
            {name: bytes(value) for name, value in _fields.decode(text).items()}
            if text.startswith(b"{")
            else {}
        ),
        integrations=integrations,
        caller=_caller(request),
        completed={},
    )


def _caller(request: Request) -> dict[str, bytes]:
    caller = {"ip": msgspec.json.encode(request.client_ip)} if request.client_ip else {}
    if agent := user_agent(request):
        caller["userAgent"] = msgspec.json.encode(agent)
    return caller


def translate_all(
    messages: Iterable[SegmentMessage | Unreadable], shared: SharedFields
) -> list[Event | Unreadable]:
    """Return all messages as events, or why they cannot be."""
    return [
        message if isinstance(message, Unreadable) else _translate(message, shared)
        for message in messages
    ]


def _translate(message: SegmentMessage, shared: SharedFields) -> Event | Unreadable:
    try:
        read = _READERS.get(shared.kind or message.type or "")
        if read is None:
            raise InvalidRequest(f"is not one of {', '.join(_READERS)}", "type")
        user_id, anonymous_id = message.user_id, message.anonymous_id
        if type(user_id) is not str:
            user_id = id_as_text(user_id, "userId")
        if anonymous_id is not None:
            anonymous_id = id_as_text(anonymous_id, "anonymousId")
        distinct_id = user_id or anonymous_id
        if not distinct_id:
            raise InvalidRequest("is missing, and so is anonymousId: one is required", "userId")
        event, properties = read(message)
        context, session_id = _complete(message, shared)
    except InvalidRequest as error:
        return Unreadable(error, message.message_id)
    except DECODE_ERRORS as error:
        return Unreadable(InvalidRequest(f"cannot be read: {error}", "context"), message.message_id)
    return Event(
        event=event,
        distinct_id=distinct_id,
        event_id=message.message_id,
        timestamp=message.original_timestamp if message.timestamp is None else message.timestamp,
        sent_at=message.sent_at,
        anonymous_id=anonymous_id,
        session_id=session_id,
        properties=properties,
        context=context,
    )


def _complete(message: SegmentMessage, shared: SharedFields) -> tuple[msgspec.Raw, str | None]:
    """Return the message's context with what it lacks, and the session that it names."""
    integrations = message.integrations
    if integrations is EMPTY_OBJECT:
        integrations = shared.integrations
    own = bytes(message.context), bytes(integrations)
    completed = shared.completed.get(own)
    if completed is None:
        completed = shared.completed[own] = _complete_context(message.context, own[1], shared)
    return completed


def _complete_context(
    context: msgspec.Raw, integrations: bytes, shared: SharedFields
) -> tuple[msgspec.Raw, str | None]:
    members = shared.context
    if not is_empty_object(integrations):
        members = {**members, "integrations": integrations}
    if members:
        context = with_members(context, members)
    text = bytes(context)
    if not text.startswith(b"{") or not (b'"direct"' in text or b'"sessionId"' in text):
        return context, None
    known = _context.decode(context)
    if known.direct is True:
        context = with_members(context, shared.caller)
    return context, id_as_text(known.session_id, "context.sessionId")


def _read_track(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    if message.event is None:
        raise InvalidRequest("is missing; text is required", "event")
    return message.event, message.properties


def _read_identify(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    traits = message.traits
    if is_empty_object(bytes(traits)) and bytes(message.context).startswith(b"{"):
        traits = _context.decode(message.context).traits
    return "$identify", with_members(EMPTY_OBJECT, {"$set": _traits(traits)})


def _read_page(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    return "$pageview", _named_properties(message)


def _read_screen(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    return "$screen", _named_properties(message)


def _read_group(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    group_id = id_as_text(message.group_id, "groupId")
    if not group_id:
        raise InvalidRequest("is missing", "groupId")
    members = {"$group_id": msgspec.json.encode(group_id), "$group_set": _traits(message.traits)}
    return "$group", with_members(EMPTY_OBJECT, members)


def _read_alias(message: SegmentMessage) -> tuple[str, msgspec.Raw]:
    previous_id = id_as_text(message.previous_id, "previousId")
    if not previous_id:
        raise InvalidRequest("is missing", "previousId")
    members = {"$previous_id": msgspec.json.encode(previous_id)}
    return "$alias", with_members(EMPTY_OBJECT, members)


def _named_properties(message: SegmentMessage) -> msgspec.Raw:
    """Return the properties with the `name` and `category` of a page or screen."""
    members = {}
    if message.name is not None:
        members["name"] = msgspec.json.encode(message.name)
    if message.category is not None:
        members["category"] = msgspec.json.encode(message.category)
    return with_members(message.properties, members) if members else message.properties


def _traits(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    if is_empty_object(text):
        return b"{}"
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", "traits")
    return text


_READERS: Final[dict[str, Callable[[SegmentMessage], tuple[str, msgspec.Raw]]]] = {
    "track": _read_track,
    "identify": _read_identify,
    "page": _read_page,
    "screen": _read_screen,
    "group": _read_group,
    "alias": _read_alias,
}
