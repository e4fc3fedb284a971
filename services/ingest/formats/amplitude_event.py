"""Translate one event of Amplitude's API; the table of fields is in `amplitude.py`."""

from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

import msgspec

from schemas.errors import InvalidRequest
from schemas.identity import scoped_id
from schemas.json_text import Json, is_empty_object
from services.ingest.events import EMPTY_OBJECT, Event, Time, Unreadable
from services.ingest.formats import Request
from services.ingest.formats.reading import id_as_text, user_agent, with_members
from services.ingest.json_text import DECODE_ERRORS
from services.ingest.limits import Limits, TooLarge

_Scalar = str | int | float | None

_T = TypeVar("_T")

_GROUP_IDENTIFY: Final = "$groupidentify"
_NO_SESSION: Final = "-1"
_CALLERS_IP: Final = "$remote"


class Missing(InvalidRequest):
    """Fix the request: the required `field` is missing."""


class AmplitudeEvent(
    msgspec.Struct,
    gc=False,
    rename={
        "product_id": "productId",
        "revenue_type": "revenueType",
        "receipt_sig": "receiptSig",
    },
):
    """The fields of an event that mean something here, of all types that SDKs send."""

    event_type: str | None = None
    user_id: _Scalar = None
    device_id: _Scalar = None
    insert_id: _Scalar = None
    session_id: _Scalar = None
    time: Time = None
    event_properties: msgspec.Raw = EMPTY_OBJECT
    user_properties: msgspec.Raw = EMPTY_OBJECT
    groups: msgspec.Raw = EMPTY_OBJECT
    group_properties: msgspec.Raw = EMPTY_OBJECT

    price: _Scalar = None
    quantity: _Scalar = None
    revenue: _Scalar = None
    currency: _Scalar = None
    product_id: _Scalar = None
    revenue_type: _Scalar = None
    receipt: _Scalar = None
    receipt_sig: _Scalar = None

    ip: _Scalar = None
    user_agent: _Scalar = None
    language: _Scalar = None
    platform: _Scalar = None
    library: _Scalar = None
    app_version: _Scalar = None
    version_name: _Scalar = None
    os_name: _Scalar = None
    os_version: _Scalar = None
    device_brand: _Scalar = None
    device_manufacturer: _Scalar = None
    device_model: _Scalar = None
    idfv: _Scalar = None
    android_id: _Scalar = None
    idfa: _Scalar = None
    adid: _Scalar = None
    carrier: _Scalar = None
    country: _Scalar = None
    region: _Scalar = None
    city: _Scalar = None
    dma: _Scalar = None
    location_lat: _Scalar = None
    location_lng: _Scalar = None


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

# The place of each field in the context: part and name. Of two with one place, the first wins.
_CONTEXT_PLACES: Final = {
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
_context_of = attrgetter(*_CONTEXT_PLACES)
_NO_REVENUE: Final = (None,) * len(_REVENUE)
_NO_CONTEXT: Final = (None,) * len(_CONTEXT_PLACES)


class _ChangeNames(NamedTuple):
    """The names of our properties that hold changes to a person's or a group's properties."""

    set: str
    set_once: str
    operations: str


_PERSON_CHANGES: Final = _ChangeNames("$set", "$set_once", "$operations")
_GROUP_CHANGES: Final = _ChangeNames("$group_set", "$group_set_once", "$group_operations")

_OPERATIONS: Final = frozenset(
    {
        *("$set", "$setOnce", "$add", "$append", "$prepend", "$remove"),
        *("$preInsert", "$postInsert", "$unset", "$clearAll"),
    }
)

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder(dict[str, Json])


class ContextBuilder:
    """Builds the contexts of one request; most of its events share one.

    Attributes:
        limits: those of the request.
    """

    def __init__(self, request: Request) -> None:
        self.limits = request.limits
        self._request = request
        self._built: dict[tuple[_Scalar, ...], msgspec.Raw] = {_NO_CONTEXT: EMPTY_OBJECT}

    def build(self, event: AmplitudeEvent) -> msgspec.Raw:
        """Return the context of an event."""
        given: tuple[_Scalar, ...] = _context_of(event)
        built = self._built.get(given)
        if built is None:
            built = self._built[given] = msgspec.Raw(msgspec.json.encode(self._build(given)))
        return built

    def _build(self, given: tuple[_Scalar, ...]) -> dict[str, Json]:
        context: dict[str, Json] = {}
        for (part, name), value in zip(_CONTEXT_PLACES.values(), given, strict=True):
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


def translate(event: AmplitudeEvent, contexts: ContextBuilder) -> Event | Unreadable:
    """Return `event` translated, or why it cannot be."""
    event_id = None
    try:
        event_id = id_as_text(event.insert_id, "insert_id")
        return _translate(event, event_id, contexts)
    except InvalidRequest as error:
        return Unreadable(error, event_id)


def _translate(event: AmplitudeEvent, event_id: str | None, contexts: ContextBuilder) -> Event:
    name = event.event_type
    if name is None:
        raise Missing("is missing; text is required", "event_type")
    members = _changes(event.user_properties, "user_properties", _PERSON_CHANGES)
    group_distinct_id = None
    if event.groups is not EMPTY_OBJECT or event.group_properties is not EMPTY_OBJECT:
        members |= _changes(event.group_properties, "group_properties", _GROUP_CHANGES)
        if not is_empty_object(bytes(event.groups)):
            members["$groups"] = bytes(event.groups)
            group = _one_group(event.groups)
            if name == _GROUP_IDENTIFY and group:
                members["$group_type"], members["$group_id"] = map(msgspec.json.encode, group)
                group_distinct_id = "${}_{}".format(*group)
    if (revenue := _revenue_of(event)) != _NO_REVENUE:
        for theirs, value in zip(_REVENUE.values(), revenue, strict=True):
            if value is not None:
                members[theirs] = msgspec.json.encode(value)
    user_id, device_id = (
        id_as_text(event.user_id, "user_id"),
        id_as_text(event.device_id, "device_id"),
    )
    distinct_id = user_id or device_id or group_distinct_id
    if not distinct_id:
        raise Missing("is missing, and so is device_id: one is required", "user_id")
    session_id = id_as_text(event.session_id, "session_id")
    return Event(
        event="$group" if name == _GROUP_IDENTIFY else name,
        distinct_id=distinct_id,
        event_id=_scoped(event_id, device_id or distinct_id, contexts.limits),
        timestamp=event.time,
        anonymous_id=device_id,
        session_id=None if session_id == _NO_SESSION else session_id,
        properties=with_members(event.event_properties, members)
        if members
        else event.event_properties,
        context=contexts.build(event),
    )


def _scoped(insert_id: str | None, device: str, limits: Limits) -> str | None:
    """Return the event's id: an `insert_id` is unique only within its device."""
    if not insert_id:
        return None
    limit = limits.max_event_id_chars
    if len(insert_id) > limit:
        raise TooLarge(f"has {len(insert_id)} characters", "max_event_id_chars", limit, "insert_id")
    return scoped_id(device, insert_id)


def _changes(raw: msgspec.Raw, field: str, names: _ChangeNames) -> dict[str, bytes]:
    """Return the changes to the properties of a person or a group, by our names.

    Amplitude's object has properties to set, operations (`$set`, `$add`, …), or both.
    """
    text = bytes(raw)
    if is_empty_object(text):
        return {}
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    # No name begins with a dollar, not even an escaped one.
    if b'"$' not in text and b"\\u" not in text:
        return {names.set: text}
    members = _read(_fields, raw, field)
    direct: dict[str, msgspec.Raw] = {}
    operations: dict[str, msgspec.Raw] = {}
    for name, value in members.items():
        (operations if name in _OPERATIONS else direct)[name] = value
    changes: dict[str, bytes] = {}
    if (once := operations.pop("$setOnce", None)) is not None:
        changes[names.set_once] = _object(once, f"{field}.$setOnce")
    set_operation = operations.pop("$set", EMPTY_OBJECT)
    if direct or set_operation is not EMPTY_OBJECT:
        _object(set_operation, f"{field}.$set")
        changes[names.set] = bytes(
            with_members(set_operation, {name: bytes(raw) for name, raw in direct.items()})
        )
    if operations:
        changes[names.operations] = msgspec.json.encode(operations)
    return changes


def _one_group(groups: msgspec.Raw) -> tuple[str, str] | None:
    """Return the type and the id of the event's group; None unless it has exactly one."""
    members = _read(_values, groups, "groups")
    if len(members) != 1:
        return None
    [(kind, value)] = members.items()
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    group_id = id_as_text(value, "groups")
    return (kind, group_id) if group_id else None


def _object(raw: msgspec.Raw, field: str) -> bytes:
    text = bytes(raw)
    if is_empty_object(text):
        return b"{}"
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    return text


def _read(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw, field: str) -> _T:
    try:
        return decoder.decode(raw)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read as an object: {error}", field) from None
