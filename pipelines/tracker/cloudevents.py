"""Reads CloudEvents 1.0 in JSON: the Kafka protocol binding's binary and structured modes.

    id ─▶ event_id    type ─▶ event    subject ─▶ distinct_id    time ─▶ timestamp
    data ─▶ properties (a JSON object)    source ─▶ context    extension `project` ─▶ project_id

Binary mode has the attributes in `ce_…` headers and the data in the value; structured mode has both
in the value, as `application/cloudevents+json`.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from pipelines.kafka.records import Headers
from schemas.errors import InvalidRecord

DEFAULT_PROJECT: Final = "default"
_PREFIX: Final = "ce_"
_STRUCTURED: Final = "application/cloudevents+json"
_REQUIRED: Final = ("id", "type", "subject", "source")


def parse(value: bytes, headers: Headers, timestamp: int) -> dict[str, object]:
    """Read one record as the fields of an event; `timestamp` (ms) replaces an absent `time`.

    Raises:
        InvalidRecord: the record is not a CloudEvent in JSON.
    """
    attributes, data = _attributes(value, headers)
    version = attributes.get("specversion")
    if version != "1.0":
        raise InvalidRecord("not_an_event", f"specversion: {version!r}; accepted is '1.0'")
    event_id, event, subject, source = (_required(attributes, name) for name in _REQUIRED)
    return {
        "event_id": event_id,
        "project_id": str(attributes.get("project", DEFAULT_PROJECT)),
        "distinct_id": subject,
        "person_id": "",
        "anonymous_id": None,
        "session_id": None,
        "event": event,
        "timestamp": _time(attributes.get("time"), timestamp),
        "sent_at": None,
        "received_at": None,
        "properties": data.decode() or "{}",
        "context": msgspec.json.encode({"source": source}).decode(),
    }


def _required(attributes: dict[str, object], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRecord("invalid_field", f"{name}: text is required")
    return value


def _attributes(value: bytes, headers: Headers) -> tuple[dict[str, object], bytes]:
    """Return the attributes, and the data as JSON text."""
    texts = {name.lower(): _text(text) for name, text in headers}
    content_type = texts.get("content-type", "").partition(";")[0].strip()
    if f"{_PREFIX}specversion" in texts:
        if content_type not in {"", "application/json"}:
            raise InvalidRecord(
                "not_an_event", f"content-type: {content_type!r}; accepted is 'application/json'"
            )
        named: dict[str, object] = {
            name.removeprefix(_PREFIX): text
            for name, text in texts.items()
            if name.startswith(_PREFIX)
        }
        return named, _utf8(value)
    try:
        body = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        attributes = {
            name: msgspec.json.decode(raw) for name, raw in body.items() if name != "data"
        }
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRecord(
            "not_an_event",
            f"neither Avro in Confluent wire format nor a CloudEvent in JSON: {error}",
        ) from None
    if content_type not in {"", _STRUCTURED}:
        raise InvalidRecord(
            "not_an_event", f"content-type: {content_type!r}; accepted is {_STRUCTURED!r}"
        )
    return attributes, _utf8(bytes(body.get("data", b"{}")))


def _utf8(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("undecodable", f"data: {error}") from None
    return data


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _time(text: object, fallback: int) -> int:
    if text is None or text == "":
        return fallback
    try:
        time = datetime.fromisoformat(cast(str, text))
    except (TypeError, ValueError):
        raise InvalidRecord(
            "invalid_field", f"time: {text!r}; accepted is RFC 3339, as 2026-01-31T12:00:00Z"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return int(time.timestamp() * 1000)
