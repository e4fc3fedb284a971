"""Decides about one event, purely: a row to encode, or the reason why not."""

from typing import Any, Final

import msgspec

from schemas.errors import InvalidRequest
from schemas.identity import identify, mint
from services.ingest.events import NOTHING, Event, Row, Time
from services.ingest.limits import Limits, TooLarge
from services.ingest.times import read_time

_EMPTY: Final = b"{}"
LEAST_PROPERTY_BYTES: Final = len('"":1,')


class Arrival(msgspec.Struct, frozen=True):
    """What the events of one request have in common.

    `project_id` is the project of the write key, and `named` the one that the request itself names.
    """

    project_id: str
    named: str | None
    sent_at: int | None
    received_at: int
    warning: str


def arrive(project_id: str, sent_at: Time, received_at: int, named: str | None = None) -> Arrival:
    """Look at what holds for a whole request; a time that cannot be read is a warning."""
    ms, warning = _read_sent_at(sent_at)
    return Arrival(project_id, named, ms, received_at, warning)


def check(event: Event, arrival: Arrival, note: str, limits: Limits) -> Row:
    """Return `event` as a row: what it leaves open is taken from `arrival`.

    `note` is what its door has to remark; it becomes part of the row's warning.

    Raises:
        InvalidRequest: the event is to be dropped; names the field, and the limit if it is one.
    """
    project_id = arrival.project_id
    named = event.project_id or arrival.named
    if named and named != project_id:
        raise InvalidRequest(
            f"{named[:70]!r} is not the project of the write key, which is {project_id!r}",
            "project_id",
        )
    warning = note
    _measure(event.event, "event", limits.max_name_chars, "max_name_chars")
    _measure(event.distinct_id, "distinct_id", limits.max_id_chars, "max_id_chars")
    if event.anonymous_id:
        _measure(event.anonymous_id, "anonymous_id", limits.max_id_chars, "max_id_chars")
    if event.session_id:
        _measure(event.session_id, "session_id", limits.max_id_chars, "max_id_chars")

    if event.event_id:
        _measure(event.event_id, "event_id", limits.max_event_id_chars, "max_event_id_chars")
        event_id, mapped = identify(event.event_id, project_id)
        if mapped:
            warning = _join(
                warning, f"event_id: {event.event_id!r} is not a UUID and was mapped to one"
            )
    else:
        event_id = mint()

    if event.timestamp is None:
        timestamp = arrival.received_at
    else:
        timestamp, assumed = read_time(event.timestamp, "timestamp")
        if assumed:
            warning = _join(warning, "timestamp: has no zone, UTC was assumed")

    if event.sent_at is None:
        sent_at, remark = arrival.sent_at, arrival.warning
    else:
        sent_at, remark = _read_sent_at(event.sent_at)
    if remark:
        warning = _join(warning, remark)

    return Row(
        event_id,
        project_id,
        event.distinct_id,
        event.anonymous_id or None,
        event.session_id or None,
        event.event,
        timestamp,
        sent_at,
        _object(event.properties, "properties", limits),
        _object(event.context, "context", limits),
        warning,
    )


def _join(warning: str, another: str) -> str:
    return f"{warning}; {another}" if warning else another


def _read_sent_at(value: Time) -> tuple[int | None, str]:
    """Return the time and a warning; without the time, only the clock's correction is lost."""
    if value is None:
        return None, ""
    try:
        ms, assumed = read_time(value, "sent_at")
    except InvalidRequest as error:
        return None, f"{error}; ignored"
    return ms, "sent_at: has no zone, UTC was assumed" if assumed else ""


def _measure(text: str, field: str, most: int, limit: str) -> None:
    if not text:
        raise InvalidRequest("is empty; text is required", field)
    if len(text) > most:
        raise TooLarge(f"has {len(text)} characters", limit, most, field)


def _object(raw: msgspec.Raw, field: str, limits: Limits) -> bytes:
    """Return the JSON text `raw`, whose grammar a door has checked, if it is a fitting object.

    Every property takes some bytes and every level a bracket, so text with few of both is within
    the limits whatever it says: only other text is parsed.
    """
    if raw is NOTHING:
        return _EMPTY
    text = bytes(raw)
    if text == b"null":
        return _EMPTY
    if not text.startswith(b"{"):
        raise InvalidRequest("is not an object", field)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"is not UTF-8: {error.reason}", field) from None
    if (
        len(text) > LEAST_PROPERTY_BYTES * limits.max_properties
        or text.count(b"{") + text.count(b"[") > limits.max_depth
    ):
        _count(text, field, limits)
    return text


def _count(text: bytes, field: str, limits: Limits) -> None:
    try:
        tree = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"cannot be read: {error}", field) from None
    properties = 0
    depth = 0
    level = [tree]
    while level:
        depth += 1
        if depth > limits.max_depth:
            raise TooLarge("is nested too deeply", "max_depth", limits.max_depth, field)
        below: list[Any] = []
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
