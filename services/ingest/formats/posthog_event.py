"""Translate one event of PostHog's formats; the table of fields is in `posthog.py`."""

import hashlib
from typing import Final

import msgspec

from schemas.errors import InvalidRequest
from schemas.json_text import Json, is_empty_object
from services.ingest.events import EMPTY_OBJECT, Event, Time
from services.ingest.formats import Request
from services.ingest.formats.reading import id_as_text, user_agent, with_members
from services.ingest.json_text import DECODE_ERRORS

MAX_ID_CHARS: Final = 200
_HASH_CHARS: Final = 32


class PostHogEvent(
    msgspec.Struct,
    gc=False,
    rename={
        "dollar_distinct_id": "$distinct_id",
        "dollar_token": "$token",
        "set": "$set",
        "set_once": "$set_once",
    },
):
    """The fields of an event that mean something here."""

    event: str | None = None
    distinct_id: Json = None
    dollar_distinct_id: Json = None
    uuid: str | None = None
    timestamp: Time = None
    offset: int | float | None = None
    sent_at: Time = None
    token: str | None = None
    api_key: str | None = None
    dollar_token: str | None = None
    properties: msgspec.Raw = EMPTY_OBJECT
    set: msgspec.Raw = EMPTY_OBJECT
    set_once: msgspec.Raw = EMPTY_OBJECT


class KnownProperties(
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
    """The properties that mean something here; each may have any type."""

    distinct_id: Json = None
    token: Json = None
    session_id: Json = None
    anon_distinct_id: Json = None
    device_id: Json = None
    lib: Json = None
    lib_version: Json = None
    ignore_sent_at: Json = None


class ContextBuilder:
    """Builds the contexts of one request: events with the same library share one."""

    def __init__(self, request: Request, *, with_ip: bool = True) -> None:
        self._members: dict[str, Json] = {}
        if with_ip and request.client_ip:
            self._members["ip"] = request.client_ip
        if agent := user_agent(request):
            self._members["userAgent"] = agent
        self._built: dict[tuple[str, str], msgspec.Raw] = {}

    def build(self, library: object, version: object) -> msgspec.Raw:
        """Return the context of an event that this library sent."""
        key = (
            library if type(library) is str else "",
            version if type(version) is str else "",
        )
        context = self._built.get(key)
        if context is None:
            members = self._members | (
                {"library": {"name": key[0], "version": key[1]}} if any(key) else {}
            )
            context = self._built[key] = msgspec.Raw(msgspec.json.encode(members))
        return context


class SharedFields(msgspec.Struct):
    """What the events of one request share; `name` is the event's name if it has none."""

    contexts: ContextBuilder
    name: str | None
    sent_at: Time
    now: int


_known = msgspec.json.Decoder(KnownProperties | None)
_NONE_KNOWN = KnownProperties()


def read_known(properties: msgspec.Raw) -> KnownProperties:
    """Return the known properties of an event.

    Raises:
        InvalidRequest: `properties` is not an object.
    """
    if properties is EMPTY_OBJECT or is_empty_object(bytes(properties)):
        return _NONE_KNOWN
    try:
        return _known.decode(properties) or _NONE_KNOWN
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an object: {error}", "properties") from None


def anonymous_id(known: KnownProperties) -> tuple[str | None, str]:
    """Return the id that the person had before being identified, and a note if it was bounded.

    That id was a `distinct_id`, so it is bounded in the same way. A device's is not.
    """
    if isinstance(known.anon_distinct_id, str):
        return bounded_id(known.anon_distinct_id, "$anon_distinct_id")
    return (known.device_id if isinstance(known.device_id, str) else None), ""


def bounded_id(text: str, field: str) -> tuple[str, str]:
    """Return an id of at most `MAX_ID_CHARS`, and a note if `text` is longer.

    PostHog cuts longer ids, which makes one person of all whose ids begin alike. Here a hash of the
    whole id replaces what is cut.
    """
    if len(text) <= MAX_ID_CHARS:
        return text, ""
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
    note = f"{field}: has {len(text)} characters; all beyond {MAX_ID_CHARS} were replaced by a hash"
    return f"{text[: MAX_ID_CHARS - _HASH_CHARS - 1]}~{digest}", note


def translate(
    item: PostHogEvent, known: KnownProperties, shared: SharedFields
) -> tuple[Event, str]:
    """Return `item` as an event, and a note about what was changed.

    Raises:
        InvalidRequest: a required field is missing; names it.
    """
    name = item.event if item.event is not None else shared.name
    if name is None:
        raise InvalidRequest("is missing; text is required", "event")
    distinct_id = item.distinct_id
    if type(distinct_id) is not str or not distinct_id:
        for given in (item.distinct_id, item.dollar_distinct_id, known.distinct_id):
            if distinct_id := id_as_text(given, "distinct_id"):
                break
    if not distinct_id:
        raise InvalidRequest("is missing", "distinct_id")
    timestamp, sent_at = item.timestamp, item.sent_at
    if timestamp is None and item.offset is not None:
        # By the server's clock, so that nothing is corrected.
        timestamp, sent_at = shared.now - item.offset, shared.now
    distinct_id, note = bounded_id(distinct_id, "distinct_id")
    before, before_note = anonymous_id(known)
    properties = item.properties
    if item.set is not EMPTY_OBJECT or item.set_once is not EMPTY_OBJECT:
        properties = with_members(properties, _set_members(item))
    event = Event(
        event=name,
        distinct_id=distinct_id,
        event_id=item.uuid,
        timestamp=timestamp,
        sent_at=sent_at,
        anonymous_id=before,
        session_id=known.session_id if isinstance(known.session_id, str) else None,
        properties=properties,
        context=shared.contexts.build(known.lib, known.lib_version),
    )
    return event, "; ".join(filter(None, (note, before_note)))


def _set_members(item: PostHogEvent) -> dict[str, bytes]:
    members = {"$set": item.set, "$set_once": item.set_once}
    return {
        name: b"{}" if is_empty_object(bytes(raw)) else bytes(raw)
        for name, raw in members.items()
        if raw is not EMPTY_OBJECT
    }
