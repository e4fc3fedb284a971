"""ClickHouse numbers days as the stream does, whatever rules for time zones it has itself."""

import numpy as np
import pytest

from schemas.time.calendar import calendar
from schemas.time.days import day_runs
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Days, day_sql
from tests.schemas.test_days import FIRST, LAST, STRANGE
from tests.warehouse import Warehouse


@pytest.mark.parametrize("name", STRANGE)
def test_days_are_those_of_the_stream(warehouse: Warehouse, name: str) -> None:
    runs, bind = day_runs(name), Binder()
    changes = runs.begins[(runs.first >= FIRST) & (runs.first < LAST)]
    steps = np.array(
        [-90_000_000, -3_600_001, -3_600_000, -1, 0, 1, 1_800_000, 3_600_000, 90_000_000]
    )
    at = np.append((changes[:, None] + steps).ravel(), [0, 946_684_800_000, 4_000_000_000_000])
    moments = bind(at.tolist(), "Array(Int64)")
    found = warehouse.client.query(
        f"SELECT {day_sql(name, bind)} FROM (SELECT at, fromUnixTimestamp64Milli(at) AS timestamp "
        f"FROM (SELECT arrayJoin({moments}) AS at))",
        parameters=bind.parameters,
    ).result_columns[0]
    assert list(found) == calendar("day", name).periods(at).tolist()


@pytest.mark.parametrize("name", STRANGE)
def test_days_begin_when_those_of_the_stream_do(warehouse: Warehouse, name: str) -> None:
    runs, bind = day_runs(name), Binder()
    changes = runs.first[(runs.first >= FIRST) & (runs.first < LAST)]
    days = np.append((changes[:, None] + np.arange(-3, 4)).ravel(), [-1, 0, 1, FIRST, LAST])
    numbers = bind(days.tolist(), "Array(Int64)")
    found = warehouse.client.query(
        f"SELECT {Days(name, bind).begin('day')} FROM (SELECT arrayJoin({numbers}) AS day)",
        parameters=bind.parameters,
    ).result_columns[0]
    begins = [calendar("day", name).begin(day) for day in days.tolist()]
    assert list(found) == begins
    assert begins == runs.begins_of_days(-365, LAST + 9)[days + 365].tolist()
