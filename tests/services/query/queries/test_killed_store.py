"""The store is killed under queries: each answer is right, or says that the store is away."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from schemas.settings import Settings, read_settings
from tests.services.query.conftest import DEADLINE_S, ready, serve
from tests.services.query.queries.asking import ms
from tests.stores import StoreProcess, new_store, remove_store
from tests.warehouse import Event, Warehouse

AT = ms("2026-11-10T10:00:00Z")
PERSONS = 500
RANGE = {"from": "2026-11-01", "to": "2026-11-30"}
# A kind, a request, and how the answer says that there are 500 persons with two events each.
QUESTIONS: list[tuple[str, dict[str, Any], Any]] = [
    ("trends", {"series": [{}], **RANGE}, lambda one: one["trends"][0]["total"] == 2 * PERSONS),
    ("lifecycle", RANGE, lambda one: sum(one["new"]) == PERSONS),
    ("sessions", RANGE, lambda one: one["total"]["events"] == 2 * PERSONS),
    ("persons", {"limit": 1_000}, lambda one: len(one["persons"]) == PERSONS),
    (
        "funnel",
        {"funnel": {"steps": [{"event": "home"}, {"event": "buy"}]}, **RANGE},
        lambda one: one["reached"] == [PERSONS, PERSONS],
    ),
]


@pytest.fixture
def own_store() -> Iterator[StoreProcess]:
    """A store that nobody else has."""
    store = new_store()
    store.start()
    yield store
    remove_store(store)


@pytest.fixture
def with_store(settings: Settings, own_store: StoreProcess) -> Iterator[Settings]:
    """The deployment with that store, which has the events."""
    name = f"test_{uuid.uuid4().hex}"
    there = read_settings({}, clickhouse_dsn=own_store.dsn, clickhouse_database=name)
    warehouse = Warehouse(there)
    warehouse.write(
        Event("shop", f"person {number}", name, AT + 60_000 * number + at)
        for number in range(PERSONS)
        for at, name in enumerate(("home", "buy"))
    )
    yield msgspec.structs.replace(settings, clickhouse_dsn=own_store.dsn, clickhouse_database=name)
    warehouse.close()


class Asked:
    """What has been answered so far."""

    def __init__(self) -> None:
        self.statuses: set[int] = set()
        self.right = 0
        self._changed = asyncio.Condition()

    async def add(self, status: int) -> None:
        """Note an answer, which is right or says that the store is away."""
        async with self._changed:
            self.statuses.add(status)
            self.right += status == 200
            self._changed.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what has been answered."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(holds)

    async def more(self, count: int) -> None:
        """Wait for more right answers."""
        target = self.right + count
        await self.until(lambda: self.right >= target)


async def ask_on(client: httpx.AsyncClient, first: int, asked: Asked) -> None:
    """Ask one question after the other; an answer that is wrong ends it."""
    for number in itertools.count(first):
        kind, body, is_right = QUESTIONS[number % len(QUESTIONS)]
        # A property that no event has, so that no answer comes from memory.
        where = [{"not": {"property": f"p{number}", "op": "is_set"}}]
        answer = await client.post(
            f"/api/projects/shop/query/{kind}", json={**body, "where": where}
        )
        found = answer.json()
        if answer.status_code == 200:
            assert is_right(found), (kind, found)
        else:
            assert answer.status_code == 503, found
            assert found["error"]["code"] in {"unavailable", "back_off"}
            assert "ClickHouse" in found["error"]["message"]
        await asked.add(answer.status_code)


async def test_no_answer_is_wrong_while_the_store_is_killed_and_comes_back(
    with_store: Settings, own_store: StoreProcess
) -> None:
    asked = Asked()

    async def kill_and_start() -> None:
        await asked.more(20)
        await asyncio.to_thread(own_store.kill)
        await asked.until(lambda: 503 in asked.statuses)
        await asyncio.to_thread(own_store.start)
        await asked.more(20)

    async with serve(with_store) as client:
        await ready(client)
        asking = [asyncio.create_task(ask_on(client, 1_000 * n, asked)) for n in range(3)]
        killing = asyncio.create_task(kill_and_start())
        done, rest = await asyncio.wait({*asking, killing}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in done:
            task.result()
    assert asked.statuses == {200, 503}
