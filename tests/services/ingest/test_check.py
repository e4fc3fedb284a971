"""Which events are accepted: decided without a broker or a clock."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from services.ingest.check import check, read_arrival
from services.ingest.events import Event, Row
from services.ingest.limits import Limits, TooLarge
from services.ingest.times import read_time
from tests.services.ingest.conftest import UNHURRIED

NOW = 1_790_000_000_000
LIMITS = Limits()
ARRIVAL = read_arrival("default", None, NOW)


def checked(limits: Limits = LIMITS, **fields: Any) -> Row:
    for name in fields.keys() & {"properties", "context"}:
        fields[name] = msgspec.Raw(msgspec.json.encode(fields[name]))
    return check(Event(**({"event": "e", "distinct_id": "d"} | fields)), ARRIVAL, "", limits)


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(depth - 1):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize(
    "text",
    [
        "0190A6C5-7B4E-7C3A-9D21-3F0E8A5B6C7D",
        "0190a6c57b4e7c3a9d213f0e8a5b6c7d",
        "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d",
    ],
)
def test_a_uuid_in_any_spelling_is_itself(text: str) -> None:
    row = checked(event_id=text)

    assert row.event_id == "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"
    assert not row.warning


@UNHURRIED
@given(st.text(min_size=1, max_size=100))
def test_every_text_stands_for_one_uuid_of_its_project(text: str) -> None:
    mine, again = checked(event_id=text), checked(event_id=text)
    theirs = check(
        Event(event="e", distinct_id="d", event_id=text),
        read_arrival("other", None, NOW),
        "",
        LIMITS,
    )

    assert mine.event_id == again.event_id == str(uuid.UUID(mine.event_id))
    assert (mine.event_id == theirs.event_id) == (not mine.warning)


@UNHURRIED
@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001
def test_a_time_is_the_same_as_text_and_as_milliseconds(time: datetime) -> None:
    ms = int((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000)

    as_text, assumed = read_time(time.isoformat(timespec="milliseconds"), "timestamp")

    assert (abs(as_text - ms) <= 1, assumed) == (True, False)
    assert read_time(as_text, "timestamp") == read_time(float(as_text), "timestamp")


@pytest.mark.parametrize(
    "time", ["", "now", "2026-13-01", "1969-12-31T23:59:59Z", -1, 1e30, 10**30]
)
def test_what_is_not_a_time_is_refused_with_what_is_accepted(time: str | float) -> None:
    with pytest.raises(InvalidRequest, match="ISO 8601") as refusal:
        checked(timestamp=time)
    assert refusal.value.field == "timestamp"


def test_an_absent_or_null_object_is_an_empty_one() -> None:
    assert checked().properties == checked(properties=None).properties == b"{}"


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"event": "x" * 201}, "max_name_chars"),
        ({"distinct_id": "x" * 201}, "max_id_chars"),
        ({"event_id": "x" * 101}, "max_event_id_chars"),
        ({"properties": {str(n): n for n in range(1_001)}}, "max_properties"),
        ({"properties": {"a": [{str(n): n for n in range(600)}] * 2}}, "max_properties"),
        ({"properties": nested(33)}, "max_depth"),
        ({"context": nested(33)}, "max_depth"),
    ],
)
def test_each_limit_is_named_with_its_value_and_the_field(
    fields: dict[str, Any], limit: str
) -> None:
    with pytest.raises(TooLarge) as refusal:
        checked(**fields)

    assert refusal.value.limit == limit
    assert refusal.value.field in fields
    assert f"{getattr(LIMITS, limit)} ({limit})" in str(refusal.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "ü" * 200, "distinct_id": "ü" * 200, "event_id": "ü" * 100},
        {"properties": {str(n): "x" * 100 for n in range(1_000)}},
        {"properties": nested(32)},
        {"properties": {"a": [[], {}] * 100, "b": "{[:" * 2_000}},
    ],
)
def test_what_is_just_within_the_limits_is_accepted(fields: dict[str, Any]) -> None:
    assert checked(**fields).event == fields.get("event", "e")
