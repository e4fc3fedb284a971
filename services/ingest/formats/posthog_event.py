"""Translate one event of PostHog's formats; the table of fields is in `posthog.py`."""

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.events import EMPTY_OBJECT, Event, Time
from services.ingest.formats import Request
from services.ingest.formats.reading import id_as_text, user_agent, with_members
from services.ingest.json_text import DECODE_ERRORS, Json

MAX_ID_CHARS = 200


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
    if properties is EMPTY_OBJECT:
        return _NONE_KNOWN
    try:
        return _known.decode(properties) or _NONE_KNOWN
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an object: {error}", "properties") from None


def anonymous_id(known: KnownProperties) -> str | None:
    """Return the id that the person had before being identified."""
    if known.anon_distinct_id is None and known.device_id is None:
        return None
    for value in (known.anon_distinct_id, known.device_id):
        if isinstance(value, str):
            return value
    return None


def translate(item: PostHogEvent, known: KnownProperties, shared: SharedFields) -> Event:
    """Return `item` as an event.

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
    properties = item.properties
    if item.set is not EMPTY_OBJECT or item.set_once is not EMPTY_OBJECT:
        properties = with_members(properties, _set_members(item))
    return Event(
        event=name,
        distinct_id=distinct_id[:MAX_ID_CHARS],
        event_id=item.uuid,
        timestamp=timestamp,
        sent_at=sent_at,
        anonymous_id=anonymous_id(known),
        session_id=known.session_id if isinstance(known.session_id, str) else None,
        properties=properties,
        context=shared.contexts.build(known.lib, known.lib_version),
    )


def _set_members(item: PostHogEvent) -> dict[str, bytes]:
    members = {"$set": item.set, "$set_once": item.set_once}
    return {name: bytes(raw) for name, raw in members.items() if raw is not EMPTY_OBJECT}
