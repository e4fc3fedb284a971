"""The fast path encodes events exactly as they would be encoded one by one, without warnings."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from services.ingest.check import check, read_arrival
from services.ingest.encode import Encoder
from services.ingest.events import EMPTY_OBJECT, Event, Unreadable
from services.ingest.fast_path.batch import FastEncoder, columns_of
from services.ingest.limits import Limits
from tests.services.ingest.conftest import UNHURRIED

NOW = 1_762_000_000_000
LIMITS = Limits(
    max_name_chars=6, max_id_chars=8, max_properties=4, max_depth=3, max_event_age_days=9_000
)
ENCODER = Encoder(7)
FAST = FastEncoder(ENCODER, LIMITS)
ID = "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"

TEXTS = st.text("aZ9-:é🎁", max_size=9)
MINUTES = st.integers(-24 * 60 + 1, 24 * 60 - 1)
TIMES = st.builds(
    lambda moment, east: moment.replace(tzinfo=timezone(timedelta(minutes=east))),
    st.datetimes(datetime(2000, 12, 30), datetime(2025, 11, 2))  # noqa: DTZ001 (gets its zone next)
    | st.datetimes(datetime(1969, 12, 30), datetime(9999, 12, 31, 23)),  # noqa: DTZ001
    MINUTES,
).map(datetime.isoformat)


@st.composite
def nearly_times(draw: st.DrawFn) -> str:
    """A time with a character changed, or cut off."""
    text = list(draw(TIMES | st.just("2025-11-01T10:00:00.25Z")))
    text[draw(st.integers(0, len(text) - 1))] = draw(st.sampled_from("0123456789-:.T +Zé"))
    return "".join(text[: draw(st.integers(15, 40))])


OBJECTS = st.sampled_from(
    [
        *(b"{}", b'{"a":1}', b'{"a":"\xc3\xa9"}', b'{"a":"\xff"}', b"null", b"[1]", b"7", b'"x"'),
        *(b'{"a":{"b":1}}', b'{"a":[[[1]]]}', b'{"a":"[[[[["}', b'{"a":1,"b":2,"c":3,"d":4,"e":5}'),
    ]
).map(msgspec.Raw)
EVENTS = st.builds(
    Event,
    event=st.just("view") | TEXTS,
    distinct_id=st.just("ada") | TEXTS,
    event_id=st.just(ID) | st.uuids().map(str) | st.none() | TEXTS | st.just(ID.upper()),
    project_id=st.sampled_from([None, None, None, "", "shop", "other"]),
    timestamp=TIMES
    | nearly_times()
    | st.none()
    | st.integers(-1, 1 << 70)
    | st.integers(NOW - 10**12, NOW + 400_000)
    | st.floats(0, 1e15),
    sent_at=st.sampled_from([None, None, None, NOW]),
    anonymous_id=st.none() | TEXTS,
    session_id=st.none() | TEXTS,
    properties=OBJECTS,
    context=OBJECTS | st.just(EMPTY_OBJECT),
)
ARRIVALS = st.builds(
    lambda sent_at, named: read_arrival("shop", sent_at, NOW, named),
    st.sampled_from([None, NOW - 5, NOW - 61_000, NOW + 7_200_000, NOW // 1_000])
    | st.sampled_from(["2025-11-01T10:00:00Z", "2025-11-01T10:00:00", "x"]),
    st.sampled_from([None, None, "shop", "other"]),
)


def event(**values: Any) -> Event:
    return Event(**{"event": "view", "distinct_id": "ada", "event_id": ID} | values)


@UNHURRIED
@given(events=st.lists(EVENTS | st.builds(event), max_size=6), arrival=ARRIVALS)
@example([event(event="", distinct_id="", event_id="")], read_arrival("shop", None, NOW))
def test_the_fast_path_encodes_as_one_by_one_and_without_a_warning(
    events: list[Event], arrival: Any
) -> None:
    for one, record in zip(events, encoded(events, arrival), strict=True):
        if record is not None:
            row = check(one, arrival, "", LIMITS)
            assert not row.warning
            assert row.event_id == one.event_id
            assert record == ENCODER.encode(row, NOW)


@UNHURRIED
@given(text=TIMES | nearly_times())
def test_the_fast_path_reads_a_time_as_the_check_does(text: str) -> None:
    arrival = read_arrival("shop", None, NOW)
    (record,) = encoded([event(timestamp=text)], arrival)
    try:
        row = check(event(timestamp=text), arrival, "", LIMITS)
    except InvalidRequest:
        assert record is None
    else:
        assert record is None or record == ENCODER.encode(row, NOW)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"timestamp": NOW},
        {"timestamp": "2025-11-01T10:00:00Z"},
        {"timestamp": "2024-02-29 23:59:59.123456+05:30"},
        {"timestamp": datetime.fromtimestamp(NOW / 1_000, UTC).isoformat()},
        {"timestamp": NOW + 300_000},
        {"timestamp": NOW - 9_000 * 86_400_000},
        {"event": "éééééé", "distinct_id": "🎁" * 8},
        {"project_id": "shop"},
        {"anonymous_id": "a", "session_id": "s"},
        {"properties": msgspec.Raw(b'{"a":"\xc3\xa9","b":[{}]}'), "context": msgspec.Raw(b"{}")},
    ],
)
def test_what_clients_usually_send_stays_on_the_fast_path(values: dict[str, Any]) -> None:
    assert encoded_alone(event(**values)) is not None


@pytest.mark.parametrize(
    "values",
    [
        {"event": ""},
        {"event": "éééééé-"},
        {"distinct_id": ""},
        {"event_id": None},
        {"event_id": ID.upper()},
        {"event_id": "order-17"},
        {"timestamp": "2025-11-01T10:00:00"},
        {"timestamp": "2025-02-29T10:00:00Z"},
        {"timestamp": "2025-11-01T24:00:00Z"},
        {"timestamp": "1969-12-31T23:59:59Z"},
        {"timestamp": "1970-01-01T00:00:00+00:01"},
        {"timestamp": "9999-12-31T23:59:59.9-00:00"},
        {"timestamp": NOW + 300_001},
        {"timestamp": NOW - 9_000 * 86_400_000 - 1},
        {"timestamp": NOW // 1_000},
        {"timestamp": 1.5},
        {"timestamp": -1},
        {"sent_at": NOW},
        {"project_id": "other"},
        {"anonymous_id": "123456789"},
        {"properties": msgspec.Raw(b"[1]")},
        {"properties": msgspec.Raw(b'{"a":"\xff"}')},
        {"properties": msgspec.Raw(b'{"a":[[[1]]]}')},
        {"context": msgspec.Raw(b'{"a":1,"b":2,"c":3,"d":4,"e":5}')},
    ],
)
def test_what_needs_thought_leaves_the_fast_path(values: dict[str, Any]) -> None:
    assert encoded_alone(event(**values)) is None


def test_an_event_that_needs_thought_leaves_its_neighbours_on_the_fast_path() -> None:
    given = [event(), event(event=""), event(properties=msgspec.Raw(b'{"a":1}'))]

    found = encoded(given, read_arrival("shop", None, NOW))

    assert [record is None for record in found] == [False, True, False]
    assert found[2] == encoded_alone(given[2])


def test_a_request_with_an_unreadable_event_leaves_the_fast_path() -> None:
    unreadable = Unreadable(InvalidRequest("is no event"))

    assert encoded([event(), unreadable], read_arrival("shop", None, NOW)) == [None, None]


def test_an_event_that_is_too_large_as_a_record_leaves_the_fast_path() -> None:
    small = FastEncoder(ENCODER, Limits(max_event_bytes=70))

    assert encoded([event()], read_arrival("shop", None, NOW), small) == [None]


def encoded_alone(one: Event) -> tuple[bytes, bytes] | None:
    (record,) = encoded([one], read_arrival("shop", None, NOW))
    return record


def encoded(
    events: Sequence[Event | Unreadable], arrival: Any, encoder: FastEncoder = FAST
) -> list[tuple[bytes, bytes] | None]:
    """Return the key and value of each event, None for those that leave the fast path."""
    columns = columns_of(events, arrival.project_id)
    if columns is None:
        return [None] * len(events)
    data, *places = encoder.encode(columns, arrival)
    return [
        (bytes(data[begin:split]), bytes(data[split:end])) if begin < end else None
        for begin, split, end in zip(*places, strict=True)
    ]
