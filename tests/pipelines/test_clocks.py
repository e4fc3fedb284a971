"""The clocks of devices: a right one is left alone, and a wrong one keeps its order."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.tracker.clocks import DeviceClocks
from pipelines.tracker.validate import validate
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.settings import read_settings

NOW = 1_790_000_000_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
YEAR = 365 * DAY
SETTINGS = read_settings({})
TOLERANCE = SETTINGS.clock_tolerance_s * SECOND
ARROW = Codec(files.load("event"), lambda _: {}).arrow


def clocks(rows: int = 64) -> DeviceClocks:
    return DeviceClocks(SETTINGS, rows)


def corrected(known: DeviceClocks, *events: dict[str, Any]) -> list[int]:
    """Return the times of events, all of which are accepted, by our clock."""
    usual = {"event_id": "", "project_id": "p", "distinct_id": "ann", "event": "home"}
    usual |= {"person_id": "", "properties": "{}", "context": "{}"}
    batch = pa.RecordBatch.from_pylist([usual | one for one in events], schema=ARROW)
    records = np.array([one["received_at"] for one in events], np.int64)
    valid, faults = validate(batch, records, SETTINGS, known)
    assert not faults
    return [int(time) for time in np.asarray(valid.column("timestamp").cast(pa.int64()))]


def sent(
    timestamp: int, sent_at: int | None, received_at: int = NOW, **fields: Any
) -> dict[str, Any]:
    return {"timestamp": timestamp, "sent_at": sent_at, "received_at": received_at} | fields


def test_the_order_of_a_device_does_not_depend_on_how_long_its_requests_take() -> None:
    purchase = sent(NOW + SECOND, NOW + SECOND, NOW + SECOND)
    cart = sent(NOW, NOW, NOW + 4 * SECOND)

    assert corrected(clocks(), purchase, cart) == [NOW + SECOND, NOW]
    assert corrected(clocks(), cart, purchase) == [NOW, NOW + SECOND]


@pytest.mark.parametrize("older", [2, 59, 61, 120, 14 * 86_400])
def test_a_sent_at_before_the_event_corrects_nothing(older: int) -> None:
    at = NOW - 5 * SECOND
    assert corrected(clocks(), sent(at, at - older * SECOND)) == [at]


@pytest.mark.parametrize("off", [-TOLERANCE, -1, 0, 1, 30 * SECOND, TOLERANCE])
def test_a_clock_that_is_right_within_the_tolerance_is_left_alone(off: int) -> None:
    known = clocks()
    for _ in range(3):
        [at] = corrected(known, sent(NOW - HOUR, NOW - off))
        assert at == NOW - HOUR


@pytest.mark.parametrize("off", [-40 * YEAR, -YEAR, -2 * HOUR, -61 * SECOND, 61 * SECOND, 5 * YEAR])
def test_a_wrong_clock_is_corrected_by_what_it_is_off(off: int) -> None:
    assert corrected(clocks(), sent(NOW - HOUR + off, NOW + off)) == [NOW - HOUR]


def test_an_event_without_sent_at_keeps_its_time() -> None:
    known = clocks()
    corrected(known, sent(NOW - 2 * HOUR, NOW - 2 * HOUR))
    assert corrected(known, sent(NOW - 2 * HOUR, None)) == [NOW - 2 * HOUR]


def test_a_clock_ahead_is_corrected_even_if_sent_at_is_older_than_the_event() -> None:
    ahead = NOW + 2 * HOUR
    assert corrected(clocks(), sent(ahead, ahead - 2 * MINUTE)) == [NOW]


def test_a_delayed_request_of_a_wrong_clock_moves_its_events_no_further() -> None:
    known, clock = clocks(), -2 * HOUR
    corrected(known, sent(NOW + clock, NOW + clock))
    late = NOW + 9 * MINUTE
    assert corrected(known, sent(NOW + clock, NOW + clock, late)) == [NOW]
    assert corrected(known, sent(late + clock, late + clock, late)) == [late]


def test_a_clock_that_was_set_is_estimated_again() -> None:
    known = clocks()
    corrected(known, sent(NOW - 2 * HOUR, NOW - 2 * HOUR))
    assert corrected(known, sent(NOW, NOW)) == [NOW]
    assert corrected(known, sent(NOW + HOUR, NOW + HOUR)) == [NOW]
    assert corrected(known, sent(NOW - DAY, NOW - DAY)) == [NOW]


def test_a_clock_that_was_set_back_by_minutes_is_estimated_again_when_two_readings_agree() -> None:
    known = clocks()
    corrected(known, sent(NOW - HOUR, NOW - HOUR))
    clock = -HOUR - 5 * MINUTE
    times = [NOW + n * 10 * MINUTE for n in range(1, 4)]
    found = [corrected(known, sent(at + clock, at + clock, at))[0] for at in times]
    assert found == [times[0] - 5 * MINUTE, times[1], times[2]]


def test_each_device_of_each_person_and_project_has_a_clock_of_its_own() -> None:
    known, behind = clocks(), NOW - 2 * HOUR
    devices: list[dict[str, Any]] = [
        {},
        {"anonymous_id": "a"},
        {"anonymous_id": "b"},
        {"distinct_id": "ben", "anonymous_id": "a"},
        {"project_id": "q"},
        {"distinct_id": "an", "anonymous_id": "na"},
    ]
    events = [
        sent(behind - n * HOUR, behind - n * HOUR, **device) for n, device in enumerate(devices)
    ]
    assert corrected(known, *events, *events) == 12 * [NOW]


def test_what_is_no_time_corrects_nothing_and_harms_no_neighbour() -> None:
    known = clocks()
    right = sent(NOW - HOUR, NOW - 2 * HOUR - 1)
    for wrong in (-(2**63), -1, 2**62, 2**63 - 1):
        assert corrected(known, sent(NOW, wrong), right)[0] == NOW


def test_memory_is_bounded_and_a_device_that_is_still_there_keeps_its_offset() -> None:
    known = clocks(rows=64)
    size = known.nbytes
    for n in range(50):
        crowd = [
            sent(NOW - HOUR, NOW - HOUR, NOW + n, distinct_id=f"{n}-{one}") for one in range(20)
        ]
        corrected(known, *crowd)
    assert known.nbytes == size
    assert len(known.dump()["clock_places"]) == 64


def test_a_device_that_was_away_for_longer_than_the_window_is_like_a_new_one() -> None:
    known = clocks()
    corrected(known, sent(NOW - HOUR, NOW - HOUR))
    later = NOW + 2 * DAY
    at = later - HOUR - 5 * MINUTE
    assert corrected(known, sent(at, at, later)) == [later]


class Step(NamedTuple):
    """A request: how long after the one before, how long on the way, and lost how often."""

    after: int
    transit: int
    retries: int  # each takes four minutes
    age: int  # of the event when it is sent


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(1, 10 * MINUTE) | st.integers(1, 3 * SECOND),
        st.integers(0, 20 * SECOND),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.integers(0, 500) | st.integers(0, HOUR),
    ),
    min_size=1,
    max_size=12,
)


def requests(steps: list[Step], off: int, rounded: bool) -> list[dict[str, Any]]:
    """Return the events of one device in the order of their arrival; a retry is the same body."""
    now, last = NOW, NOW - HOUR
    events: list[dict[str, Any]] = []
    for step in steps:
        now += step.after
        last = max(last + 1, now - step.age)
        device_now = now + off
        stated = device_now // SECOND * SECOND if rounded else device_now
        # The first request says what the clock is, and the second may be tried again.
        arrival = now + step.transit + (len(events) == 1) * step.retries * 4 * MINUTE
        events.append(sent(min(last, now) + off, stated, arrival))
    return sorted(events, key=lambda one: int(one["received_at"]))


@given(STEPS, st.integers(-30, 9), st.booleans())
def test_a_right_clock_keeps_its_own_times(steps: list[Step], off_s: int, rounded: bool) -> None:
    steps = [step._replace(retries=0) for step in steps]
    events = requests(steps, -off_s * SECOND, rounded)
    assert corrected(clocks(), *events) == [one["timestamp"] for one in events]


@given(
    STEPS,
    st.sampled_from(
        [-40 * YEAR, -YEAR, -DAY, -2 * HOUR, -15 * MINUTE, 15 * MINUTE, HOUR, 10 * YEAR]
    ),
    st.booleans(),
    st.booleans(),
)
@example([Step(1, 5_000, 0, 0), Step(9_000, 100, 0, 0), Step(500, 4_000, 0, 0)], -DAY, False, True)
@example([Step(1, n, 0, 0) for n in (3, 0, 1, 0)], -YEAR, False, False)
def test_a_wrong_clock_keeps_its_order_and_no_event_is_later_than_its_receipt(
    steps: list[Step], off: int, rounded: bool, restarts: bool
) -> None:
    events = requests(steps, off, rounded)
    known, found = clocks(), []
    for one in events:
        found += corrected(known, one)
        if restarts:
            fresh = clocks()
            fresh.load(known.dump())
            known = fresh

    pairs = sorted(zip((one["timestamp"] for one in events), found, strict=True))
    assert [time for _, time in pairs] == sorted(found)
    for one, time in zip(events, found, strict=True):
        assert time <= one["received_at"]
        assert abs(time - (one["timestamp"] - off)) <= TOLERANCE + SECOND
