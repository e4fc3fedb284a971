"""Reads CloudEvents 1.0 in JSON from Kafka records, in binary, structured and batched mode.

    id and source ─▶ event_id    type ─▶ event    subject ─▶ distinct_id    time ─▶ timestamp
    data ─▶ properties (a JSON object)    source ─▶ context    extension `project` ─▶ project_id

Binary mode has the attributes in `ce_…` headers and the data in the value, which may be absent.
Structured mode has both in the value, under any content type: SDKs send `application/json` too. A
value that is an array is a batch. Kafka's binding has none, and a record has one key, so that the
events of a batch must have one project and subject.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import binascii
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from pipelines.kafka.records import Headers
from schemas.errors import InvalidRecord
from schemas.identity import scoped_id
from schemas.json_text import BYTE_ORDER_MARK, canonicalize, is_empty_object

DEFAULT_PROJECT: Final = "default"
_PREFIX: Final = "ce_"
_REQUIRED: Final = ("id", "type", "subject", "source")
_EMPTY: Final = b"{}"
# The members of a structured event that are not attributes.
_DATA: Final = {"data", "data_base64"}

_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_value: Final = msgspec.json.Decoder()

Attributes = dict[str, object]


class CloudEvents(NamedTuple):
    """The events of a record, and why those of its batch that are missing cannot be read."""

    events: list[dict[str, object]]
    fault: InvalidRecord | None


def is_cloud_event(value: bytes | None, headers: Headers) -> bool:
    """Return whether a record is to be read as a CloudEvent, and not as Avro."""
    if value is None:
        return any(name.lower() == f"{_PREFIX}specversion" for name, _ in headers)
    return value[:1] != b"\0"


def parse(value: bytes | None, headers: Headers, timestamp: int) -> CloudEvents:
    """Read one record as the fields of its events; `timestamp` (ms) replaces an absent `time`.

    Raises:
        InvalidRecord: the record is not a CloudEvent in JSON, or no event of its batch is.
    """
    texts = {name.lower(): _text(text) for name, text in headers}
    # A structured event may have its attributes in headers, too.
    is_structured = _media_type(texts.get("content-type", "")).startswith("application/cloudevents")
    if f"{_PREFIX}specversion" in texts and not is_structured:
        return CloudEvents([_read_binary(value or b"", texts, timestamp)], None)
    text = (value or b"").removeprefix(BYTE_ORDER_MARK)
    if text.lstrip()[:1] == b"[":
        return _read_batch(text, timestamp)
    return CloudEvents([_read_structured(text, timestamp)], None)


def _read_binary(value: bytes, texts: dict[str, str], timestamp: int) -> dict[str, object]:
    content_type = _media_type(texts.get("content-type", ""))
    data = value.removeprefix(BYTE_ORDER_MARK)
    if data and not _is_json(content_type) and data.lstrip()[:1] != b"{":
        raise InvalidRecord(
            "not_an_event", f"content-type: {content_type!r}; accepted is 'application/json'"
        )
    attributes: Attributes = {
        name.removeprefix(_PREFIX): text for name, text in texts.items() if name.startswith(_PREFIX)
    }
    return _event(attributes, _properties(data, "data"), timestamp)


def _read_structured(value: bytes | msgspec.Raw, timestamp: int) -> dict[str, object]:
    try:
        body = _decode_fields(value)
        attributes: Attributes = {
            name.lower(): _value.decode(raw) for name, raw in body.items() if name not in _DATA
        }
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRecord(
            "not_an_event",
            f"neither Avro in Confluent wire format nor a CloudEvent in JSON: {error}",
        ) from None
    return _event(attributes, _data(body, attributes), timestamp)


def _read_batch(value: bytes, timestamp: int) -> CloudEvents:
    try:
        items = _items.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord("not_an_event", f"not a batch of CloudEvents: {error}") from None
    events: list[dict[str, object]] = []
    faults: list[InvalidRecord] = []
    for place, item in enumerate(items):
        try:
            event = _read_structured(item, timestamp)
            if events and _key(event) != _key(events[0]):
                raise InvalidRecord(
                    "not_an_event",
                    f"{_key(event)!r} is in a batch of {_key(events[0])!r}; a record has one key: "
                    "send one event a record, or a batch of one project and subject",
                )
        except InvalidRecord as error:
            faults.append(
                InvalidRecord(error.reason, f"event {place} of the batch: {error.detail}")
            )
        else:
            events.append(event)
    if not events:
        raise faults[0] if faults else InvalidRecord("not_an_event", "the batch has no events")
    if len(faults) > 1:
        more = f"{faults[0].detail}; and {len(faults) - 1} more"
        return CloudEvents(events, InvalidRecord(faults[0].reason, more))
    return CloudEvents(events, faults[0] if faults else None)


def _key(event: dict[str, object]) -> str:
    return f"{event['project_id']}:{event['distinct_id']}"


def _event(attributes: Attributes, properties: str, timestamp: int) -> dict[str, object]:
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidRecord("not_an_event", f"specversion: {version!r}; accepted is '1.0'")
    event_id, event, subject, source = (_required(attributes, name) for name in _REQUIRED)
    project = attributes.get("project")
    return {
        "event_id": scoped_id(source, event_id),
        "project_id": DEFAULT_PROJECT if project is None or project == "" else str(project),
        "distinct_id": subject,
        "person_id": "",
        "anonymous_id": None,
        "session_id": None,
        "event": event,
        "timestamp": _time(attributes.get("time"), timestamp),
        "sent_at": None,
        "received_at": None,
        "properties": properties,
        "context": msgspec.json.encode({"source": source}).decode(),
    }


def _required(attributes: Attributes, name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRecord("invalid_field", f"{name}: text is required")
    return value


def _data(body: dict[str, msgspec.Raw], attributes: Attributes) -> str:
    """Return the properties in the data of a structured event."""
    encoded = body.get("data_base64")
    if encoded is None or bytes(encoded) == b"null":
        return _properties(bytes(body.get("data", b"")), "data")
    if not is_empty_object(bytes(body.get("data", b"null"))):
        raise InvalidRecord("invalid_field", "data_base64: is there beside data")
    text = _value.decode(encoded)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidRecord("invalid_field", f"data_base64: is not base64: {error}") from None
    content_type = _media_type(str(attributes.get("datacontenttype") or ""))
    if data and not _is_json(content_type) and data.lstrip()[:1] != b"{":
        raise InvalidRecord(
            "invalid_field", f"data_base64: is {content_type!r}; accepted is a JSON object"
        )
    return _properties(data, "data_base64")


def _properties(data: bytes, field: str) -> str:
    """Return data as canonical properties; without data there are none."""
    text = data.removeprefix(BYTE_ORDER_MARK).strip()
    if not text or is_empty_object(text):
        return _EMPTY.decode()
    if text[:1] != b"{":
        shown = text[:40].decode(errors="replace")
        raise InvalidRecord("invalid_properties", f"{field}: {shown}; accepted is a JSON object")
    try:
        return canonicalize(text).text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("undecodable", f"{field}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(
            "invalid_properties", f"{field}: {error}; accepted is a JSON object"
        ) from None


def _decode_fields(value: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _fields.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half a surrogate pair, as JavaScript writes a cut emoji, or NaN.
        return _fields.decode(canonicalize(bytes(value)).text)


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type in {"", "application/json", "text/json"} or media_type.endswith("+json")


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _time(text: object, fallback: int) -> int:
    if text is None or text == "":
        return fallback
    try:
        time = datetime.fromisoformat(text.upper() if isinstance(text, str) else "")
    except ValueError:
        raise InvalidRecord(
            "invalid_field", f"time: {text!r}; accepted is RFC 3339, as 2026-01-31T12:00:00Z"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return int(time.timestamp() * 1000)
