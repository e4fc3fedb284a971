"""The scanner finds the same fields as a JSON decoder, and no others."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.events import Event
from services.ingest.fast_path.columns import (
    ON_ARRIVAL,
    TEXT_COLUMNS,
    TIME,
    UNREAD,
    Columns,
)
from services.ingest.fast_path.scan import find_events, scan
from tests.services.ingest.conftest import UNHURRIED

ID = "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"
USUAL = {"event": "view", "distinct_id": "ada", "event_id": ID}
FIELDS = (
    *("event", "distinct_id", "event_id", "timestamp", "anonymous_id", "session_id"),
    *("properties", "context"),
)
EVENTS = msgspec.json.Decoder(list[Event])

TEXT = st.text('aé🎁"\\\n{}[],: ', max_size=20)
SPACE = st.text(" \t\r\n", max_size=2)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)
USUAL_TEXT = st.text("aé🎁{}[],: ", max_size=20)


@st.composite
def usual_events(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """The fields of an event, in some order."""
    fields: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"event": USUAL_TEXT, "distinct_id": USUAL_TEXT, "event_id": USUAL_TEXT},
            optional={
                "timestamp": USUAL_TEXT | st.none() | st.integers(0, 10**15 - 1),
                "anonymous_id": USUAL_TEXT | st.none(),
                "session_id": USUAL_TEXT | st.none(),
                "properties": OBJECTS | st.none(),
                "context": OBJECTS | st.none(),
            },
        )
    )
    return draw(st.permutations(list(fields.items())))


@st.composite
def written(draw: st.DrawFn, events: st.SearchStrategy[list[tuple[str, Any]]]) -> bytes:
    """Some events as JSON, with space anywhere, and names that may come twice."""
    is_ascii = draw(st.booleans())

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=is_ascii and isinstance(value, dict | list))

    def pair(name: str, value: Any) -> str:
        return f"{draw(SPACE)}{text(name)}{draw(SPACE)}:{draw(SPACE)}{text(value)}{draw(SPACE)}"

    objects = [
        f"{draw(SPACE)}{{{','.join(pair(*field) for field in event)}}}{draw(SPACE)}"
        for event in draw(st.lists(events, min_size=1, max_size=4))
    ]
    return f"{draw(SPACE)}[{','.join(objects)}]".encode()


ANY_EVENTS = usual_events() | st.lists(
    st.tuples(st.sampled_from([*FIELDS, "sent_at", "other", "contexts"]) | TEXT, VALUES),
    max_size=8,
)


@UNHURRIED
@given(data=written(usual_events()))
def test_what_clients_send_is_found_and_is_what_is_read(data: bytes) -> None:
    columns = scan(msgspec.Raw(data))

    assert columns is not None
    assert_same(columns, EVENTS.decode(data))


@UNHURRIED
@given(data=written(ANY_EVENTS))
def test_what_is_found_in_any_events_is_what_is_read(data: bytes) -> None:
    columns = scan(msgspec.Raw(data))

    if columns is not None:
        assert_same(columns, EVENTS.decode(data))


@UNHURRIED
@given(data=st.binary(max_size=60) | written(usual_events()), cut=st.integers(0, 300))
def test_nothing_is_read_beyond_what_is_given(data: bytes, cut: int) -> None:
    """Bytes after the data do not change the result."""
    data = data[:cut]
    found = [found_in(data, behind) for behind in (b"\0", b'"', b"]", b"}")]

    assert found == found[:1] * 4


@pytest.mark.parametrize(
    "event",
    [
        '{"event":"view","distinct_id":"ada"}',
        '{"event":"view","event_id":"x"}',
        '{"event":null,"distinct_id":"ada","event_id":"x"}',
        '{"event":7,"distinct_id":"ada","event_id":"x"}',
        '{"event":"a\\nb","distinct_id":"ada","event_id":"x"}',
        '{"event":"view","distinct_id":"ada","event_id":null}',
        '{"event":"view","distinct_id":"ada","event_id":"x","sent_at":1}',
        '{"event":"view","distinct_id":"ada","event_id":"x","project_id":"shop"}',
        '{"event":"view","distinct_id":"ada","event_id":"x","timestamp":1.5}',
        '{"event":"view","distinct_id":"ada","event_id":"x","timestamp":-1}',
        '{"event":"view","distinct_id":"ada","event_id":"x","timestamp":1234567890123456}',
        '{"event":"view","distinct_id":"ada","event_id":"x","properties":[]}',
        '{"event":"view","distinct_id":"ada","event_id":"x","context":"{}"}',
        "{}",
        "7",
        "",
    ],
)
def test_an_array_with_something_unusual_is_left_to_others(event: str) -> None:
    usual = json.dumps(USUAL)

    assert scan(msgspec.Raw(f"[{usual}]".encode())) is not None
    assert scan(msgspec.Raw(f"[{usual},{event}]".encode())) is None


def test_what_is_no_utf_8_is_left_to_others() -> None:
    data = json.dumps([USUAL | {"properties": {"a": "?"}}]).encode()

    assert scan(msgspec.Raw(data.replace(b"?", b"\xff"))) is None
    assert scan(msgspec.Raw(data.replace(b"?", b"\xc3\xa9"))) is not None


def assert_same(columns: Columns, events: list[Event]) -> None:
    data, begins, sizes, times = columns
    assert len(times) == len(begins) == len(sizes) == len(events)
    assert columns.ids() == [event.event_id for event in events]
    for i, event in enumerate(events):
        for column, name in enumerate(FIELDS):
            begin = begins[i, column]
            field = data[begin : begin + sizes[i, column]]
            value = getattr(event, name)
            if column == TIME:
                assert field.decode() == (value if isinstance(value, str) else "")
                number = (
                    ON_ARRIVAL if value is None else UNREAD if isinstance(value, str) else value
                )
                assert times[i] == number
            elif column < TEXT_COLUMNS:
                assert field.decode() == (value or "")
            elif field:
                assert field == bytes(value)
            else:
                assert bytes(value) in {b"{}", b"null"}


def found_in(data: bytes, behind: bytes) -> Any:
    """Scan the first part of a larger array."""
    whole = np.frombuffer(data + behind * 16, np.uint8)
    begins, sizes = np.full((8, 8), 7), np.full((8, 8), 7)
    times = np.full(8, 7)
    count = find_events(whole[: len(data)], begins, sizes, times)
    return count, begins.tolist(), sizes.tolist(), times.tolist()
