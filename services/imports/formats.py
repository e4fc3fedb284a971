"""From the rows of a file to events: by the names of columns, or as a vendor exports them.

The vendors' events are translated as those of their SDKs are, so that an event has the same id and
the same properties whichever way it comes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from schemas.identity import scoped_id
from schemas.json_text import is_empty_object
from schemas.time.plausible import unit_of
from services.imports.rows import Fields
from services.ingest.events import EMPTY_OBJECT, Event, Time, Unreadable
from services.ingest.formats import Request, amplitude_event, posthog_event, segment_message
from services.ingest.formats.reading import id_as_text
from services.ingest.limits import Limits

ValueType = Literal["text", "number", "boolean", "json"]
TimeUnit = Literal["milliseconds", "seconds", "microseconds", "nanoseconds"]
Format = Literal["columns", "native", "posthog", "mixpanel", "amplitude", "segment"]

_PER_MS: Final[Mapping[TimeUnit, tuple[int, int]]] = {
    "milliseconds": (1, 1),
    "seconds": (1_000, 1),
    "microseconds": (1, 1_000),
    "nanoseconds": (1, 1_000_000),
}
_TRUE: Final = {"true", "1", "yes", "t", "y"}
_FALSE: Final = {"false", "0", "no", "f", "n"}
_ANY: Final = msgspec.json.Decoder()


class Columns(NamedTuple):
    """Which columns of a file say what; the others become properties."""

    event: str = "event"
    person: str = "distinct_id"
    time: str = "timestamp"
    session: str = "session_id"


class Reading(NamedTuple):
    """How the columns of a file are read. `id` is the column of the events' ids, "" without one."""

    columns: Columns = Columns()
    types: Mapping[str, ValueType] = {}
    time_unit: TimeUnit = "milliseconds"
    id: str = ""


Translate = Callable[[Fields], Event]


def translator(name: Format, reading: Reading) -> Translate:
    """Return what translates a row of a format; it raises `InvalidRequest` for one it cannot."""
    if name == "columns":
        return lambda fields: _from_columns(fields, reading)
    return _VENDORS[name]


def required_columns(name: Format, reading: Reading) -> tuple[str, ...]:
    """Return the columns that every row of a file must have."""
    if name != "columns":
        return ()
    return tuple(filter(None, (*reading.columns[:3], reading.id, *reading.types)))


def _from_columns(fields: Fields, reading: Reading) -> Event:
    rest = dict(fields)
    columns = reading.columns
    event, person, time = (rest.pop(name, b"null") for name in columns[:3])
    session = rest.pop(columns.session, b"null")
    event_id = rest.pop(reading.id, b"null")
    properties = {
        name: _typed(value, reading.types.get(name), name)
        for name, value in rest.items()
        if value != b"null"
    }
    return Event(
        event=_text(event, columns.event),
        distinct_id=_text(person, columns.person),
        timestamp=_time(time, columns.time, reading.time_unit),
        session_id=_optional_text(session, columns.session),
        event_id=_text(event_id, reading.id) if reading.id else None,
        properties=_object(properties),
    )


def _typed(value: bytes, kind: ValueType | None, name: str) -> bytes:
    """Return a value as the type that its column was given."""
    if kind is None:
        return value
    found = _ANY.decode(value)
    text = found if isinstance(found, str) else value.decode()
    if kind == "text":
        return msgspec.json.encode(text)
    if kind == "boolean":
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            accepted = ", ".join(sorted(_TRUE | _FALSE))
            raise InvalidRequest(f"{text[:40]!r} is not a boolean; accepted are {accepted}", name)
        return b"true" if word in _TRUE else b"false"
    try:
        read = msgspec.json.decode(text.strip(), type=int | float if kind == "number" else Any)
    except msgspec.DecodeError:
        raise InvalidRequest(f"{text[:40]!r} is not {kind} as JSON has it", name) from None
    return text.strip().encode() if kind == "number" else msgspec.json.encode(read)


def _text(value: bytes, name: str) -> str:
    text = _optional_text(value, name)
    if not text:
        raise InvalidRequest("is empty; text is required", name)
    return text


def _optional_text(value: bytes, name: str) -> str | None:
    return id_as_text(_ANY.decode(value), name)


def _time(value: bytes, name: str, unit: TimeUnit) -> Time:
    """Return a time; text that is a number is one, as in CSV."""
    time = _ANY.decode(value)
    if isinstance(time, str):
        try:
            time = float(time) if "." in time else int(time)
        except ValueError:
            return str(time)
    if time is None:
        raise InvalidRequest("is empty; a time is required", name)
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise InvalidRequest("is neither text nor a number; a time is required", name)
    seen = unit_of(time) or "milliseconds"
    if seen != unit:
        raise InvalidRequest(
            f"{time} seems to be in {seen}, not in {unit}; `--time-unit {seen}` reads it so", name
        )
    factor, divisor = _PER_MS[unit]
    return time * factor // divisor


def _object(members: Mapping[str, bytes]) -> msgspec.Raw:
    parts = (b"%b:%b" % (msgspec.json.encode(name), value) for name, value in members.items())
    return msgspec.Raw(b"{%b}" % b",".join(parts))


# ── what vendors export ──────────────────────────────────────────────────────────────────────────

_REQUEST: Final = Request(
    method="POST",
    path="",
    query=b"",
    headers={},
    content_type="application/json",
    body=b"",
    client_ip="",
    limits=Limits(),
    grow=lambda _: None,
)
_posthog_contexts = posthog_event.ContextBuilder(_REQUEST, with_ip=False)
_posthog_shared = posthog_event.SharedFields(_posthog_contexts, None, None, 0)
_amplitude_contexts = amplitude_event.ContextBuilder(_REQUEST)
_segment_shared = segment_message.share(_REQUEST, "", EMPTY_OBJECT, EMPTY_OBJECT, 1)

_posthog = msgspec.json.Decoder(posthog_event.PostHogEvent)
_amplitude = msgspec.json.Decoder(amplitude_event.AmplitudeEvent)
_segment = msgspec.json.Decoder(segment_message.SegmentMessage)
_native = msgspec.json.Decoder(Event)
_raw = msgspec.json.Decoder(msgspec.Raw)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _decode(decoder: msgspec.json.Decoder[Any], fields: Mapping[str, bytes]) -> Any:
    try:
        return decoder.decode(_object(fields))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message, path.rstrip("`").lstrip(".")) from None


def _opened(fields: Fields, *names: str) -> Fields:
    """Return the fields with the named ones as objects: CSV and Parquet have their JSON as text."""
    opened = dict(fields)
    for name in names:
        if fields.get(name, b"")[:1] == b'"':
            text = str(_ANY.decode(fields[name]))
            try:
                opened[name] = bytes(_raw.decode(text)) if text else b"{}"
            except msgspec.DecodeError as error:
                raise InvalidRequest(f"is not JSON: {error}", name) from None
    return opened


def _properties(fields: Fields, *others: str) -> dict[str, bytes]:
    """Return a row's properties: the member of this name, or all fields but `others`."""
    if "properties" in fields:
        if is_empty_object(fields["properties"]):
            return {}
        try:
            members = _members.decode(fields["properties"])
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"cannot be read as an object: {error}", "properties") from None
        return {name: bytes(value) for name, value in members.items()}
    return {name: value for name, value in fields.items() if name not in others}


def _from_posthog(fields: Fields) -> Event:
    fields = _opened(fields, "properties", "set", "set_once", "$set", "$set_once")
    own = {"uuid", "event", "distinct_id", "timestamp", "created_at", "team_id", "person_id"}
    renamed = {"set": "$set", "set_once": "$set_once"}
    members = {renamed.get(name, name): value for name, value in fields.items()}
    members["properties"] = bytes(_object(_properties(fields, *own, *renamed, *renamed.values())))
    for name in ("offset", "sent_at", "token", "api_key"):
        members.pop(name, None)
    item = _decode(_posthog, members)
    event, _ = posthog_event.translate(
        item, posthog_event.read_known(item.properties), _posthog_shared
    )
    return event


def _from_mixpanel(fields: Fields) -> Event:
    fields = _opened(fields, "properties")
    properties = _properties(fields, "event")
    time = _ANY.decode(properties.pop("time", fields.get("time", b"null")))
    distinct_id, insert_id = (
        id_as_text(_ANY.decode(properties.pop(name, b"null")), name)
        for name in ("distinct_id", "$insert_id")
    )
    name = _text(fields.get("event", b"null"), "event")
    device = properties.get("$device_id", b"null")
    if not distinct_id:
        raise InvalidRequest("is empty; text is required", "distinct_id")
    if isinstance(time, str):
        timestamp = _time(msgspec.json.encode(time), "time", "seconds")
    elif isinstance(time, int | float):
        timestamp = time * 1_000 if unit_of(time) == "seconds" else time
    else:
        raise InvalidRequest("is missing; seconds since 1970 are required", "time")
    return Event(
        event=name,
        distinct_id=distinct_id,
        timestamp=timestamp,
        # Mixpanel's is unique only within these.
        event_id=scoped_id(f"{name}/{time}", insert_id) if insert_id else None,
        anonymous_id=_optional_text(device, "$device_id"),
        properties=_object(properties),
    )


# What Amplitude exports under another name than it takes it.
_AMPLITUDE_NAMES: Final = {"$insert_id": "insert_id", "ip_address": "ip", "event_time": "time"}


def _from_amplitude(fields: Fields) -> Event:
    objects = ("event_properties", "user_properties", "groups", "group_properties")
    fields = _opened(fields, *objects)
    members = {_AMPLITUDE_NAMES.get(name, name): value for name, value in fields.items()}
    if members.get("insert_id", b"null") in {b"null", b'""'}:
        members["insert_id"] = fields.get("uuid", b"null")
    if all(members.get(name, b"null") in {b"null", b'""'} for name in ("user_id", "device_id")):
        members["device_id"] = fields.get("amplitude_id", b"null")
    return _readable(amplitude_event.translate(_decode(_amplitude, members), _amplitude_contexts))


def _from_segment(fields: Fields) -> Event:
    message = _decode(_segment, _opened(fields, "properties", "traits", "context", "integrations"))
    [event] = segment_message.translate_all([message], _segment_shared)
    return _readable(event)


def _from_native(fields: Fields) -> Event:
    event: Event = _decode(_native, _opened(fields, "properties", "context"))
    return event


def _readable(event: Event | Unreadable) -> Event:
    if isinstance(event, Unreadable):
        raise event.error
    return event


_VENDORS: Final[Mapping[str, Translate]] = {
    "native": _from_native,
    "posthog": _from_posthog,
    "mixpanel": _from_mixpanel,
    "amplitude": _from_amplitude,
    "segment": _from_segment,
}
FORMATS: Final[tuple[str, ...]] = ("columns", *_VENDORS)
