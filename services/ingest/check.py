"""Check one event: a pure function from an event to a row, or to the reason for its refusal."""

from typing import Final

import msgspec

from schemas.errors import InvalidRequest
from schemas.identity import identify, mint
from schemas.json_text import Json, canonicalize, is_empty_object
from services.ingest.events import EMPTY_OBJECT, Event, Row, Time
from services.ingest.json_text import DECODE_ERRORS, is_canonical_object
from services.ingest.limits import Limits, TooLarge
from services.ingest.times import check_plausible, read_time

_EMPTY: Final = b"{}"
MIN_PROPERTY_BYTES: Final = len('"":1,')


class Arrival(msgspec.Struct, frozen=True):
    """What the events of one request share.

    `project_id` is the write key's project, and `named_project` the one that the request names.
    `warning` is what is wrong with the request's `sent_at`. With `text_ids`, ids may be any text,
    and mapping one to a UUID is no warning.
    """

    project_id: str
    named_project: str | None
    sent_at: int | None
    received_at: int
    warning: str
    text_ids: bool = False


def read_arrival(
    project_id: str,
    sent_at: Time,
    received_at: int,
    named_project: str | None = None,
    *,
    text_ids: bool = False,
) -> Arrival:
    """Return what the events of a request share; an unreadable `sent_at` becomes a warning."""
    ms, warning = _read_sent_at(sent_at)
    return Arrival(project_id, named_project, ms, received_at, warning, text_ids)


def check(event: Event, arrival: Arrival, note: str, limits: Limits) -> Row:
    """Return `event` as a row, completed from `arrival`.

    `note` is the format's warning about the event; it becomes part of the row's warning.

    Raises:
        InvalidRequest: the event is to be dropped; names the field, and the limit if one is
            exceeded.
    """
    project_id = arrival.project_id
    named = event.project_id or arrival.named_project
    if named and named != project_id:
        raise InvalidRequest(
            f"{named[:70]!r} is not the project of the write key, which is {project_id!r}",
            "project_id",
        )
    warning = note
    _check_length(event.event, "event", limits.max_name_chars, "max_name_chars")
    _check_length(event.distinct_id, "distinct_id", limits.max_id_chars, "max_id_chars")
    anonymous_id, remark = _optional_id(event.anonymous_id, "anonymous_id", limits)
    warning = join_warnings(warning, remark)
    session_id, remark = _optional_id(event.session_id, "session_id", limits)
    warning = join_warnings(warning, remark)

    if event.event_id:
        _check_length(event.event_id, "event_id", limits.max_event_id_chars, "max_event_id_chars")
        event_id, mapped = identify(event.event_id, project_id)
        if mapped and not arrival.text_ids:
            warning = join_warnings(
                warning, f"event_id: {event.event_id!r} is not a UUID and was mapped to one"
            )
    else:
        event_id = mint()

    if event.sent_at is None:
        sent_at, sent_warning = arrival.sent_at, arrival.warning
    else:
        sent_at, sent_warning = _read_sent_at(event.sent_at)
    if event.timestamp is None:
        # By our clock, so that the device's must not correct it.
        timestamp, sent_at = arrival.received_at, None
    else:
        timestamp, assumed = read_time(event.timestamp, "timestamp")
        if assumed:
            warning = join_warnings(warning, "timestamp: has no zone, UTC was assumed")
        check_plausible(timestamp, sent_at, arrival.received_at, limits)
    warning = join_warnings(warning, sent_warning)

    properties, remark = _check_object(event.properties, "properties", limits)
    warning = join_warnings(warning, remark)
    context, remark = _check_object(event.context, "context", limits)
    warning = join_warnings(warning, remark)

    return Row(
        event_id,
        project_id,
        event.distinct_id,
        anonymous_id,
        session_id,
        event.event,
        timestamp,
        sent_at,
        properties,
        context,
        warning,
    )


def join_warnings(warning: str, another: str) -> str:
    """Return both warnings as one text; either may be empty."""
    return f"{warning}; {another}" if warning and another else warning or another


def _read_sent_at(value: Time) -> tuple[int | None, str]:
    """Return the time and a warning. Without the time, only the clock is not corrected."""
    if value is None:
        return None, ""
    try:
        ms, assumed = read_time(value, "sent_at")
    except InvalidRequest as error:
        return None, f"{error}; ignored"
    return ms, "sent_at: has no zone, UTC was assumed" if assumed else ""


def _check_length(text: str, field: str, max_chars: int, limit: str) -> None:
    if not text:
        raise InvalidRequest("is empty; text is required", field)
    if len(text) > max_chars:
        raise TooLarge(f"has {len(text)} characters", limit, max_chars, field)


def _optional_id(text: str | None, field: str, limits: Limits) -> tuple[str | None, str]:
    """Return an id that an event may lack, and a warning if it is left out as too long."""
    if not text:
        return None, ""
    if len(text) > limits.max_id_chars:
        error = TooLarge(f"has {len(text)} characters", "max_id_chars", limits.max_id_chars, field)
        return None, f"{error}; left out"
    return text, ""


def _check_object(raw: msgspec.Raw, field: str, limits: Limits) -> tuple[bytes, str]:
    """Return `raw`, which is valid JSON, in canonical form if it is an object within the limits.

    The second value is a warning about what was changed. Each property takes at least
    `MIN_PROPERTY_BYTES`, so a short canonical text is within the limits without being parsed.
    """
    if raw is EMPTY_OBJECT:
        return _EMPTY, ""
    text = bytes(raw)
    if is_empty_object(text):
        return _EMPTY, ""
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    if len(text) > limits.max_event_bytes:
        raise TooLarge(f"has {len(text)} bytes", "max_event_bytes", limits.max_event_bytes, field)
    if is_canonical_object(text, limits.max_depth) and _is_utf8(text):
        if len(text) > MIN_PROPERTY_BYTES * limits.max_properties:
            _check_size(text, field, limits)
        return text, ""
    try:
        canonical = canonicalize(text)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"is not UTF-8: {error.reason}", field) from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"cannot be read: {error}", field) from None
    _check_size(canonical.text, field, limits)
    return canonical.text, canonical.remarks and f"{field}: {canonical.remarks}"


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_size(text: bytes, field: str, limits: Limits) -> None:
    """Parse `text`, count its properties and levels, and raise `TooLarge` beyond the limits."""
    try:
        tree = msgspec.json.decode(text)
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"cannot be read: {error}", field) from None
    properties = 0
    depth = 0
    level = [tree]
    while level:
        depth += 1
        if depth > limits.max_depth:
            raise TooLarge("is nested too deeply", "max_depth", limits.max_depth, field)
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                properties += len(value)
                below += value.values()
            else:
                below += value
        if properties > limits.max_properties:
            raise TooLarge(
                "has too many properties", "max_properties", limits.max_properties, field
            )
        level = [value for value in below if isinstance(value, dict | list)]
