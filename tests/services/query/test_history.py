"""What results were, over time: added up as of each moment, for every operator."""

import datetime
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.operators import OPERATORS, OperatorSpec
from schemas.settings import Settings
from services.query.operators.history import HistoryRange, PartitionFigures, points
from sinks.base import Batch, boot_clock_s
from sinks.history import HistorySink
from sinks.history_rows import HISTORY_ROWS
from tests.laws.entry import entry_of
from tests.warehouse import Warehouse

MINUTE = 60_000
NOW = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
BEGIN = NOW - datetime.timedelta(minutes=10)


@pytest.fixture
def settings(settings: Settings, warehouse: Warehouse) -> Settings:
    """A deployment whose store is there."""
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


@pytest.fixture
def sink(settings: Settings) -> Iterator[HistorySink]:
    made = HistorySink(settings)
    made.setup()
    yield made
    made.close()


def row(minute: float, offset: int, partition: int = 0, **changed: Any) -> dict[str, Any]:
    """Return a row of a record that was written some minutes after BEGIN."""
    return {
        "project_id": "shop",
        "kind": "funnel",
        "id": "one",
        "version": 1,
        "period": "total",
        "_partition": partition,
        "at": BEGIN + datetime.timedelta(minutes=minute),
        "position": offset,
        "figures": [("reached.1", float(offset)), ("maximum", float(partition))],
        "_offset": offset,
        **changed,
    }


def batch(*rows: dict[str, Any]) -> Batch:
    columns = pa.RecordBatch.from_pylist(list(rows), schema=HISTORY_ROWS)
    return Batch("funnels", 0, 0, 0, 0, columns, boot_clock_s(), again=False)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 99)), max_size=12).map(
        sorted
    )
)
def test_a_point_has_the_newest_record_of_each_partition_at_its_end(
    made: list[tuple[int, int, int]],
) -> None:
    rows = {(at, partition): value for at, partition, value in made}
    asked = HistoryRange(3 * MINUTE, 8 * MINUTE, MINUTE)
    before = {(max(at, 2), partition): value for (at, partition), value in rows.items()}
    found = points(
        [
            PartitionFigures(at, partition, {"sum": value, "minimum": value}, value)
            for (at, partition), value in sorted(before.items())
            if at < 8
        ],
        asked,
        10**15,
    )
    expected = []
    for end in range(4, 9):
        newest = {partition: value for (at, partition), value in sorted(rows.items()) if at < end}
        if newest:
            values = newest.values()
            expected.append((end * MINUTE, sum(values), min(values), newest))
    assert [
        (one.at.timestamp() * 1_000, one.figures["sum"], one.figures["minimum"], one.positions)
        for one in found
    ] == expected


async def read(query: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    answer = await query.get(f"/api/projects/shop/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_minute_has_one_row_and_a_point_adds_up_the_partitions(
    query: httpx.AsyncClient, sink: HistorySink, warehouse: Warehouse
) -> None:
    body = {"steps": [{"event": "a"}, {"event": "b"}], "window_s": 60, "id": "one"}
    assert (await query.post("/api/projects/shop/funnels", json=body)).status_code == 201
    sink.write(batch(row(0.1, 1), row(0.5, 3), row(0.2, 10, partition=1)))
    sink.write(batch(row(4, 7), row(0.1, 1)))
    others = {"project_id": "other"}, {"version": 2}, {"id": "two"}, {"period": "20000"}
    sink.write(batch(*(row(1, 1_000, **other) for other in others), row(1, 500, kind="cohort")))
    found = await read(
        query,
        "funnels/one/history",
        interval="minute",
        **{"from": (BEGIN - datetime.timedelta(minutes=1)).isoformat()[:19] + "Z"},
    )
    assert [(one["figures"], one["positions"]) for one in found["points"][:6]] == [
        *[({"maximum": 1, "reached.1": 13}, {"0": 3, "1": 10})] * 4,
        *[({"maximum": 1, "reached.1": 17}, {"0": 7, "1": 10})] * 2,
    ]
    day = await read(query, "funnels/one/history", period="20000", interval="day")
    assert day["points"][-1]["figures"]["reached.1"] == 1_000
    table = f"{warehouse.settings.clickhouse_database}.result_history"
    warehouse.client.command(f"OPTIMIZE TABLE {table} FINAL")
    kept = warehouse.client.query(
        f"SELECT _offset FROM {table} WHERE project_id = 'shop' AND kind = 'funnel' "
        "AND id = 'one' AND version = 1 AND period = 'total' ORDER BY _offset"
    ).result_rows
    assert kept == [(3,), (7,), (10,)]


@pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: spec.name)
async def test_every_operator_has_a_history(
    query: httpx.AsyncClient, sink: HistorySink, spec: OperatorSpec
) -> None:
    del sink  # has made the table
    body = {**entry_of(spec.name).body, "id": f"the-{spec.name}"}
    made = await query.post(f"/api/projects/shop/{spec.plural}", content=json.dumps(body))
    assert made.status_code == 201, made.text
    found = await read(query, f"{spec.plural}/the-{spec.name}/history")
    assert found == {
        "id": f"the-{spec.name}",
        "version": 1,
        "period": "total",
        "interval": "hour",
        "points": [],
    }


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"interval": "year"}, "interval"),
        ({"interval": "minute", "from": "2026-01-01"}, "from"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "from"),
        ({"version": "7"}, "version"),
        ({"period": "x" * 41}, "period"),
        ({"bucket": "1"}, "bucket"),
    ],
)
async def test_what_is_no_history_is_refused(
    query: httpx.AsyncClient, parameters: dict[str, str], field: str
) -> None:
    body = {"steps": [{"event": "a"}, {"event": "b"}], "window_s": 60, "id": "refused"}
    await query.post("/api/projects/shop/funnels", json=body)
    answer = await query.get("/api/projects/shop/funnels/refused/history", params=parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == field
