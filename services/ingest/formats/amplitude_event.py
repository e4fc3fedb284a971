"""One event of Amplitude's, put in our words: the table is in `amplitude.py`."""

from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from services.ingest.events import NOTHING, Event, Time, Unreadable
from services.ingest.formats import Request
from services.ingest.formats.reading import BAD, as_text, put, user_agent

_Plain = str | int | float | None

_GROUP_IDENTIFY: Final = "$groupidentify"
_NO_SESSION: Final = "-1"
_CALLERS_IP: Final = "$remote"


class Missing(InvalidRequest):
    """Fix the request: `field` is required, and is not there."""


class AmplitudeEvent(
    msgspec.Struct,
    gc=False,
    rename={
        "product_id": "productId",
        "revenue_type": "revenueType",
        "receipt_sig": "receiptSig",
    },
):
    """What is looked at in an event, of the type that Amplitude wants, or one that says as much."""

    event_type: str | None = None
    user_id: _Plain = None
    device_id: _Plain = None
    insert_id: _Plain = None
    session_id: _Plain = None
    time: Time = None
    event_properties: msgspec.Raw = NOTHING
    user_properties: msgspec.Raw = NOTHING
    groups: msgspec.Raw = NOTHING
    group_properties: msgspec.Raw = NOTHING

    price: _Plain = None
    quantity: _Plain = None
    revenue: _Plain = None
    currency: _Plain = None
    product_id: _Plain = None
    revenue_type: _Plain = None
    receipt: _Plain = None
    receipt_sig: _Plain = None

    ip: _Plain = None
    user_agent: _Plain = None
    language: _Plain = None
    platform: _Plain = None
    library: _Plain = None
    app_version: _Plain = None
    version_name: _Plain = None
    os_name: _Plain = None
    os_version: _Plain = None
    device_brand: _Plain = None
    device_manufacturer: _Plain = None
    device_model: _Plain = None
    idfv: _Plain = None
    android_id: _Plain = None
    idfa: _Plain = None
    adid: _Plain = None
    carrier: _Plain = None
    country: _Plain = None
    region: _Plain = None
    city: _Plain = None
    dma: _Plain = None
    location_lat: _Plain = None
    location_lng: _Plain = None


_REVENUE: Final = {
    "price": "$price",
    "quantity": "$quantity",
    "revenue": "$revenue",
    "currency": "$currency",
    "product_id": "$productId",
    "revenue_type": "$revenueType",
    "receipt": "$receipt",
    "receipt_sig": "$receiptSig",
}

# By field, the part of the context and the name there; of two for one name, the first that is set.
_PLACES: Final = {
    "ip": ("", "ip"),
    "user_agent": ("", "userAgent"),
    "language": ("", "locale"),
    "platform": ("", "platform"),
    "library": ("library", "name"),
    "app_version": ("app", "version"),
    "version_name": ("app", "version"),
    "os_name": ("os", "name"),
    "os_version": ("os", "version"),
    "device_brand": ("device", "brand"),
    "device_manufacturer": ("device", "manufacturer"),
    "device_model": ("device", "model"),
    "idfv": ("device", "id"),
    "android_id": ("device", "id"),
    "idfa": ("device", "advertisingId"),
    "adid": ("device", "advertisingId"),
    "carrier": ("network", "carrier"),
    "country": ("location", "country"),
    "region": ("location", "region"),
    "city": ("location", "city"),
    "dma": ("location", "dma"),
    "location_lat": ("location", "latitude"),
    "location_lng": ("location", "longitude"),
}

_revenue_of = attrgetter(*_REVENUE)
_context_of = attrgetter(*_PLACES)
_NO_REVENUE: Final = (None,) * len(_REVENUE)
_NO_CONTEXT: Final = (None,) * len(_PLACES)


class _Names(NamedTuple):
    """Where among our properties it stands what is to become of somebody's properties."""

    set: str
    set_once: str
    operations: str


_PERSONS: Final = _Names("$set", "$set_once", "$operations")
_GROUPS: Final = _Names("$group_set", "$group_set_once", "$group_operations")

_OPERATIONS: Final = frozenset(
    {
        *("$set", "$setOnce", "$add", "$append", "$prepend", "$remove"),
        *("$preInsert", "$postInsert", "$unset", "$clearAll"),
    }
)

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(dict[str, Any])


class Caller:
    """Makes the contexts of one request: most of its events come from the same device or server."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._made: dict[tuple[_Plain, ...], msgspec.Raw] = {_NO_CONTEXT: NOTHING}

    def context(self, event: AmplitudeEvent) -> msgspec.Raw:
        """Return the context of an event."""
        given: tuple[_Plain, ...] = _context_of(event)
        made = self._made.get(given)
        if made is None:
            made = self._made[given] = msgspec.Raw(msgspec.json.encode(self._make(given)))
        return made

    def _make(self, given: tuple[_Plain, ...]) -> dict[str, Any]:
        context: dict[str, Any] = {}
        for (part, name), value in zip(_PLACES.values(), given, strict=True):
            if value is not None and value != "":
                (context.setdefault(part, {}) if part else context).setdefault(name, value)
        if context.get("ip") == _CALLERS_IP:
            del context["ip"]
            if self._request.client_ip:
                context["ip"] = self._request.client_ip
            if agent := user_agent(self._request):
                context.setdefault("userAgent", agent)
        if library := context.get("library"):
            name, slash, version = str(library["name"]).rpartition("/")
            if slash:
                context["library"] = {"name": name, "version": version}
        return context


def translate(event: AmplitudeEvent, caller: Caller) -> Event | Unreadable:
    """Return `event` as ours, or what is wrong with it."""
    event_id = None
    try:
        event_id = as_text(event.insert_id, "insert_id")
        return _translate(event, event_id, caller)
    except InvalidRequest as error:
        return Unreadable(error, event_id)


def _translate(event: AmplitudeEvent, event_id: str | None, caller: Caller) -> Event:
    name = event.event_type
    if name is None:
        raise Missing("is missing; text is required", "event_type")
    members = _changes(event.user_properties, "user_properties", _PERSONS)
    group_distinct_id = None
    if event.groups is not NOTHING or event.group_properties is not NOTHING:
        members |= _changes(event.group_properties, "group_properties", _GROUPS)
        if bytes(event.groups) not in {b"{}", b"null"}:
            members["$groups"] = bytes(event.groups)
            group = _one_group(event.groups)
            if name == _GROUP_IDENTIFY and group:
                members["$group_type"], members["$group_id"] = map(msgspec.json.encode, group)
                group_distinct_id = "${}_{}".format(*group)
    if (revenue := _revenue_of(event)) != _NO_REVENUE:
        for theirs, value in zip(_REVENUE.values(), revenue, strict=True):
            if value is not None:
                members[theirs] = msgspec.json.encode(value)
    user_id, device_id = as_text(event.user_id, "user_id"), as_text(event.device_id, "device_id")
    distinct_id = user_id or device_id or group_distinct_id
    if not distinct_id:
        raise Missing("is missing, and so is device_id: one is required", "user_id")
    session_id = as_text(event.session_id, "session_id")
    return Event(
        event="$group" if name == _GROUP_IDENTIFY else name,
        distinct_id=distinct_id,
        event_id=event_id,
        timestamp=event.time,
        anonymous_id=device_id,
        session_id=None if session_id == _NO_SESSION else session_id,
        properties=put(event.event_properties, members) if members else event.event_properties,
        context=caller.context(event),
    )


def _changes(raw: msgspec.Raw, field: str, names: _Names) -> dict[str, bytes]:
    """Return, by our names, what an event says of the properties of a person or a group.

    They stand there as they are to be, or below operations, or both.
    """
    text = bytes(raw)
    if text in {b"{}", b"null"}:
        return {}
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    # No name begins with a dollar, in whatever way it is written.
    if b'"$' not in text and b"\\u" not in text:
        return {names.set: text}
    members = _read(_fields, raw, field)
    plain: dict[str, msgspec.Raw] = {}
    operations: dict[str, msgspec.Raw] = {}
    for name, value in members.items():
        (operations if name in _OPERATIONS else plain)[name] = value
    changes: dict[str, bytes] = {}
    if (once := operations.pop("$setOnce", None)) is not None:
        changes[names.set_once] = _object(once, f"{field}.$setOnce")
    told = operations.pop("$set", NOTHING)
    if plain or told is not NOTHING:
        _object(told, f"{field}.$set")
        changes[names.set] = bytes(put(told, {name: bytes(raw) for name, raw in plain.items()}))
    if operations:
        changes[names.operations] = msgspec.json.encode(operations)
    return changes


def _one_group(groups: msgspec.Raw) -> tuple[str, str] | None:
    """Return the type and the id of the group, if it is one; one event may be of many."""
    members = _read(_values, groups, "groups")
    if len(members) != 1:
        return None
    [(kind, value)] = members.items()
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    group_id = as_text(value, "groups")
    return (kind, group_id) if group_id else None


def _object(raw: msgspec.Raw, field: str) -> bytes:
    text = bytes(raw)
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    return text


def _read(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw, field: str) -> Any:
    try:
        return decoder.decode(raw)
    except BAD as error:
        raise InvalidRequest(f"cannot be read as an object: {error}", field) from None
