"""Times at the doors: what the Tracker would reject is refused with the reason; others are kept."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.time.plausible import by_our_clock
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest

DAY_MS = 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "home", "distinct_id": "ada", "event_id": str(uuid.uuid4())} | fields


# A request of many events takes the fast path, and one of a single event does not.
@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize(
    ("shift", "reason"),
    [
        (301_000, "is 301 s after its receipt; the limit is 300 (max_future_skew_s)"),
        (40 * DAY_MS, "after its receipt"),
        (-731 * DAY_MS, "is 731 days before its receipt; the limit is 730 (max_event_age_days)"),
    ],
)
def test_an_event_that_is_too_old_or_in_the_future_is_refused_with_the_reason(
    serve: Callable[..., Ingest], count: int, shift: int, reason: str
) -> None:
    ingest = serve(max_event_age_days=730)
    at = now_ms() + shift
    for given in (at, iso(at)):
        results = ingest.results({"events": [event(timestamp=given) for _ in range(count)]})

        assert {one["result"] for one in results} == {"drop"}
        assert {one["field"] for one in results} == {"timestamp"}
        assert reason in results[-1]["details"] or abs(shift) < DAY_MS
    assert not ingest.inbox()


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("shift", [0, 290_000, -729 * DAY_MS])
def test_an_event_within_the_limits_is_taken_without_a_remark(
    serve: Callable[..., Ingest], count: int, shift: int
) -> None:
    ingest = serve(max_event_age_days=730)
    at = now_ms() + shift

    results = ingest.results({"events": [event(timestamp=at) for _ in range(count)]})

    assert {one["result"] for one in results} == {"ok"}
    assert {one["timestamp"] for one in ingest.inbox()} == {at}


@pytest.mark.parametrize(
    ("divide", "unit"), [(1e3, "seconds"), (1e-3, "microseconds"), (1e-6, "nanoseconds")]
)
@pytest.mark.parametrize("with_sent_at", [False, True])
def test_a_time_in_another_unit_is_refused_and_the_unit_named(
    ingest: Ingest, divide: float, unit: str, with_sent_at: bool
) -> None:
    at = int(now_ms() / divide)
    body = {"events": [event(timestamp=at), event(timestamp=float(at)), event()]}

    one, other, without = ingest.results(body | ({"sent_at": at} if with_sent_at else {}))

    for result in (one, other):
        assert (result["result"], result["field"]) == ("drop", "timestamp")
        assert f"seems to be in {unit}, not in milliseconds" in result["details"]
    if with_sent_at:
        assert without["result"] == "warning"
        assert f"sent_at: {at} seems to be in {unit}" in without["details"]
    else:
        assert without["result"] == "ok"


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("off", [-7_200_000, 0, 7_200_000])
def test_an_event_without_a_time_happened_when_it_was_received_whatever_sent_at_says(
    ingest: Ingest, count: int, off: int
) -> None:
    events = [event() for _ in range(count)] + [event(timestamp=None)]

    results = ingest.results({"events": events, "sent_at": now_ms() + off})

    assert {one["result"] for one in results} == {"ok"}
    for one in ingest.inbox():
        assert (one["timestamp"], one["sent_at"]) == (one["received_at"], None)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/batch/",
            {
                "api_key": KEY,
                "batch": [{"event": "home", "distinct_id": "a"}],
                "sent_at": "2026-01-01T00:00:00Z",
            },
        ),
        (
            "/2/httpapi",
            {
                "api_key": KEY,
                "events": [{"event_type": "home", "user_id": "a"}],
                "client_upload_time": "2026-01-01T00:00:00Z",
            },
        ),
        (
            "/v1/batch",
            {
                "writeKey": KEY,
                "batch": [{"type": "track", "event": "home", "userId": "a", "messageId": "m"}],
                "sentAt": "2026-01-01T00:00:00Z",
            },
        ),
    ],
)
def test_so_it_is_with_the_formats_of_vendors(
    ingest: Ingest, path: str, body: dict[str, Any]
) -> None:
    assert ingest.http.post(path, json=body).status_code == 200

    [one] = ingest.inbox()
    assert (one["timestamp"], one["sent_at"]) == (one["received_at"], None)


@pytest.mark.parametrize("off", [-2 * 365 * DAY_MS, -7_200_000, 7_200_000, 40 * DAY_MS])
def test_what_a_wrong_clock_dates_into_the_future_or_the_past_is_taken(
    serve: Callable[..., Ingest], off: int
) -> None:
    ingest = serve(max_event_age_days=7)
    device_now = now_ms() + off

    [result] = ingest.results(
        {"events": [event(timestamp=device_now - 1_000)], "sent_at": device_now}
    )

    assert result["result"] == "ok"
    [one] = ingest.inbox()
    assert (one["timestamp"], one["sent_at"]) == (device_now - 1_000, device_now)


@pytest.mark.parametrize("older", [120_000, 14 * DAY_MS])
def test_a_sent_at_before_the_event_does_not_make_it_one_of_the_future(
    ingest: Ingest, older: int
) -> None:
    at = now_ms() - 1_000

    [result] = ingest.results({"events": [event(timestamp=at)], "sent_at": at - older})

    assert result["result"] == "ok"


def test_a_right_clock_does_not_excuse_an_event_of_the_future(ingest: Ingest) -> None:
    [result] = ingest.results({"events": [event(timestamp=now_ms() + DAY_MS)], "sent_at": now_ms()})

    assert result["result"] == "drop"


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "time"),
    [
        (-10, None, -10),
        (-10, -60, -10),
        (-3_700, -3_600, -100),
        (3_500, 3_600, -100),
        (-10, -130, -10),
        (7_200, 7_080, 0),
        (400, 0, 400),
        (400, 390, 0),
    ],
)
def test_a_time_by_our_clock(timestamp: int, sent_at: int | None, time: int) -> None:
    sent = None if sent_at is None else sent_at * 1_000
    assert by_our_clock(timestamp * 1_000, sent, 0, 60_000, 300_000) == time * 1_000


@pytest.mark.parametrize("field", ["timestamp", "sent_at"])
@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "-1" + "0" * 400, "9" * 5_000, "1e22", "1e308"]
)
def test_a_number_of_any_size_costs_at_most_its_event(
    shared: Ingest, field: str, number: str
) -> None:
    """Those that no double can be are whole numbers in JSON, too."""
    odd = json.dumps(event()).replace("{", f'{{"{field}": {number}, ', 1)
    body = f'{{"events": [{json.dumps(event())}, {odd}, {json.dumps(event())}]}}'
    results = shared.results(content=body)
    assert [results[0]["result"], results[2]["result"]] == ["ok", "ok"]
    # Numbers of thousands of digits are left out before they are read as times.
    is_time = field == "timestamp" and len(number) < 1_000
    assert results[1]["result"] == ("drop" if is_time else "warning")
    assert results[1]["details"]
