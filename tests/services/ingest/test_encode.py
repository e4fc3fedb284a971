"""The datum joined by hand equals what fastavro writes, byte for byte."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.files import load
from services.ingest.encode import LAYOUT, Encoder
from services.ingest.events import Row
from tests.services.ingest.conftest import UNHURRIED

TIMES = st.integers(0, 253_402_300_799_999)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# Long enough for lengths of one, two and three bytes.
LONG = st.builds(
    lambda text, times: text * times, st.text("aé🎁", min_size=1), st.integers(0, 9_000)
)


def written_by_fastavro(row: Row, received_at: int) -> bytes:
    stream = io.BytesIO()
    event: dict[str, Any] = {
        "event_id": row.event_id,
        "project_id": row.project_id,
        "distinct_id": row.distinct_id,
        "anonymous_id": row.anonymous_id,
        "session_id": row.session_id,
        "event": row.event,
        "timestamp": row.timestamp,
        "sent_at": row.sent_at,
        "received_at": received_at,
        "properties": row.properties.decode(),
        "context": row.context.decode(),
    }
    fastavro.schemaless_writer(stream, load("event").plain, event)
    return stream.getvalue()


def test_the_layout_is_the_schemas() -> None:
    assert tuple(field["name"] for field in load("event").plain["fields"]) == LAYOUT


@UNHURRIED
@given(
    row=st.builds(
        Row,
        event_id=TEXT,
        project_id=st.sampled_from(["default", "shop.eu"]),
        distinct_id=TEXT | LONG,
        anonymous_id=st.none() | TEXT,
        session_id=st.none() | TEXT,
        event=TEXT,
        timestamp=TIMES,
        sent_at=st.none() | TIMES,
        properties=(TEXT | LONG).map(str.encode),
        context=TEXT.map(str.encode),
        warning=st.just(""),
    ),
    received_at=TIMES,
    schema_id=st.integers(0, 2**31 - 1),
)
def test_a_row_is_encoded_as_fastavro_would(row: Row, received_at: int, schema_id: int) -> None:
    key, value = Encoder(schema_id).encode(row, received_at)

    assert key.decode() == f"{row.project_id}:{row.distinct_id}"
    assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")
    assert value[5:] == written_by_fastavro(row, received_at)


@pytest.mark.parametrize("bits", range(43))
def test_times_around_each_power_of_two_are_encoded_as_fastavro_would(bits: int) -> None:
    for time in {max(0, (1 << bits) - 1), 1 << bits, (1 << bits) + 1}:
        row = Row("", "p", "d", None, None, "e", time, time, b"{}", b"{}", "")
        assert Encoder(1).encode(row, time)[1][5:] == written_by_fastavro(row, time)
