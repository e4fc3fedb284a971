"""Answers of closed periods are kept until an event comes too late, and no longer."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.settings import Settings
from services.query.clickhouse.client import Store
from services.query.clickhouse.queries import EventStore
from services.query.queries.arrivals import Arrivals
from tests.services.query.conftest import eventually
from tests.services.query.queries.asking import ms
from tests.warehouse import Event, Warehouse

TRENDS = "/api/projects/shop/query/trends"
CLOSED = {"series": [{}], "from": "2026-11-01", "to": "2026-11-02"}
NOON = ms("2026-11-01T12:00:00Z")
EVERY_S = 10.0


class Step(NamedTuple):
    """Events with these times (minutes) come, the time of day passes, and a period is asked for."""

    come: list[int]
    seconds: int
    end: int


STEPS = st.lists(
    st.builds(
        Step,
        st.lists(st.integers(0, 60), max_size=3),
        st.sampled_from([0, 3, 10, 25]),
        st.integers(0, 60),
    ),
    min_size=1,
    max_size=12,
)


class Watched:
    """The real store, asked through `Arrivals` at times of the test's."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.now = 0.0
        self._warehouse = warehouse
        self._runner = asyncio.Runner()
        self._store = Store(warehouse.settings)
        events = EventStore(self._store, warehouse.settings.clickhouse_database)
        self.arrivals = Arrivals(events, EVERY_S, lambda: self.now)

    def write(self, project: str, minutes: list[int]) -> None:
        self._warehouse.write(Event(project, "ann", "buy", NOON + 60_000 * one) for one in minutes)

    def version(self, project: str, end: int, complete: int = 60) -> int:
        at, complete_until = NOON + 60_000 * end, NOON + 60_000 * complete
        return self._runner.run(self.arrivals.version(project, at, complete_until))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


@pytest.fixture(scope="module")
def watched(warehouse: Warehouse) -> Iterator[Watched]:
    one = Watched(warehouse)
    yield one
    one.close()


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_an_answer_of_a_version_lacks_no_event_that_came_before_the_last_look(
    watched: Watched, steps: list[Step]
) -> None:
    project = uuid.uuid4().hex
    come: list[tuple[float, int]] = []
    kept: dict[tuple[int, int], int] = {}
    for step in steps:
        watched.write(project, step.come)
        come += [(watched.now, minute) for minute in step.come]
        watched.now += step.seconds
        version = watched.version(project, step.end)
        present = sum(minute < step.end for _, minute in come)
        answer = kept.setdefault((version, step.end), present)
        surely = sum(m < step.end and at <= watched.now - EVERY_S for at, m in come)
        assert surely <= answer <= present


def test_what_comes_in_time_changes_no_version(watched: Watched) -> None:
    project = uuid.uuid4().hex
    watched.write(project, [1])
    first = watched.version(project, end=10, complete=10)
    for minute in (10, 20, 30):
        watched.write(project, [minute])
        watched.now += EVERY_S
        assert watched.version(project, end=10, complete=minute) == first
    watched.write(project, [25])
    watched.now += EVERY_S
    assert watched.version(project, end=10, complete=30) == first
    assert watched.version(project, end=26, complete=30) > first


@pytest.fixture
def settings(settings: Settings, warehouse: Warehouse) -> Settings:
    """A deployment whose store is there."""
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


@pytest.mark.usefixtures("settings")
async def test_a_late_event_is_in_the_answer_of_its_closed_period_within_seconds(
    query: httpx.AsyncClient, warehouse: Warehouse
) -> None:
    warehouse.write([Event("shop", "ann", "buy", NOON)])
    first = await eventually(
        lambda: query.post(TRENDS, json=CLOSED),
        lambda one: one.json()["complete_until"] is not None,
    )
    again = await query.post(TRENDS, json=CLOSED)
    assert again.content == first.content
    total = first.json()["trends"][0]["total"]
    warehouse.write([Event("shop", "bob", "buy", NOON + 1)])
    late = await eventually(
        lambda: query.post(TRENDS, json=CLOSED),
        lambda one: one.json()["trends"][0]["total"] > total,
    )
    assert late.json()["trends"][0]["total"] == total + 1
    assert not late.json()["incomplete"]
