"""The Tracker's decisions about one batch of events."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from pipelines.tracker.clocks import DeviceClocks
from pipelines.tracker.validate import Validated, validate
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.settings import read_settings

NOW_MS: Final = 1_790_000_000_000
DAY_MS: Final = 86_400_000
_ARROW: Final = Codec(files.load("event"), lambda _: {}).arrow
_EVENT: Final[dict[str, Any]] = {
    "event_id": "0b7cf1de-8d36-4c4e-8a86-5ad2a7f3c1aa",
    "project_id": "shop",
    "distinct_id": "ann",
    "person_id": "",
    "event": "home",
    "timestamp": NOW_MS,
    "properties": "{}",
    "context": "{}",
}


def validated(*events: dict[str, Any], record_ms: int = NOW_MS) -> Validated:
    """What becomes of events, given where they differ from `_EVENT`, in records of one time."""
    batch = pa.RecordBatch.from_pylist([_EVENT | event for event in events], schema=_ARROW)
    settings = read_settings({})
    return validate(batch, np.full(len(events), record_ms), settings, DeviceClocks(settings))


def test_an_event_is_not_received_after_kafka_took_its_record() -> None:
    ahead = {"received_at": NOW_MS + 40 * DAY_MS}
    events, faults = validated(ahead, ahead | {"timestamp": NOW_MS + 40 * DAY_MS})
    assert faults[1].reason == "timestamp_out_of_range"
    assert list(faults) == [1]
    row = events.to_pylist()[0]
    assert (row["received_at"], row["timestamp"]) == (NOW_MS, NOW_MS)


def test_a_device_with_a_clock_ahead_cannot_move_its_receipt_with_it() -> None:
    ahead = NOW_MS + 40 * DAY_MS
    event = {"timestamp": ahead, "sent_at": ahead + 1_000, "received_at": ahead + 1_000}
    events, faults = validated(event)
    assert not faults
    assert events.to_pylist()[0]["timestamp"] == NOW_MS - 1_000


def test_an_event_received_before_kafka_took_its_record_keeps_that_time() -> None:
    events, faults = validated({"received_at": NOW_MS - DAY_MS, "timestamp": NOW_MS - DAY_MS})
    assert not faults
    assert events.to_pylist()[0]["received_at"] == NOW_MS - DAY_MS


def test_the_clock_of_a_door_may_be_ahead_of_kafkas_within_the_tolerance() -> None:
    door = NOW_MS + 59_000
    events, faults = validated({"received_at": door, "timestamp": door + 300_000})
    assert not faults
    assert events.to_pylist()[0]["received_at"] == door


def test_a_record_without_a_timestamp_bounds_nothing() -> None:
    events, faults = validated({"received_at": NOW_MS}, record_ms=0)
    assert not faults
    assert events.to_pylist()[0]["received_at"] == NOW_MS


@pytest.mark.parametrize("field", ["person_id", "anonymous_id", "session_id"])
def test_a_field_that_no_definition_needs_is_bounded_too(field: str) -> None:
    _, faults = validated({field: "x" * 800}, {field: "x" * 801})
    assert {row: fault.reason for row, fault in faults.items()} == {1: "invalid_field"}
    assert "801 bytes" in faults[1].detail


def test_a_person_is_the_one_named_or_else_the_distinct_id() -> None:
    events, _ = validated({}, {"person_id": "ben"})
    assert events.column("person_id").to_pylist() == ["ann", "ben"]


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        (NOW_MS + 301_000, "timestamp: 2026-09-21T14:18:21.000Z; accepted are 2000-01-01T00:00:00"),
        (1, "timestamp: 1970-01-01T00:00:00.001Z; accepted"),
        (NOW_MS // 1_000, f"timestamp: {NOW_MS // 1_000} seems to be in seconds, not in milli"),
        (NOW_MS * 1_000, "seems to be in microseconds, not in milliseconds; accepted"),
        (NOW_MS * 1_000_000, "seems to be in nanoseconds, not in milliseconds; accepted"),
        (2**63 - 1, f"timestamp: {2**63 - 1}; accepted"),
    ],
)
def test_a_time_that_is_out_of_range_is_shown_in_iso_8601_or_with_the_unit_it_seems_to_have(
    timestamp: int, shown: str
) -> None:
    _, faults = validated({"timestamp": timestamp})
    assert shown in faults[0].detail
    assert "to 2026-09-21T14:18:20.000Z, 300 s after receipt" in faults[0].detail
