"""What queries may cost: memory, time, and the same work twice."""

import asyncio
import json
import time
from typing import Any

import httpx
import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from schemas.errors import InvalidRequest
from schemas.settings import Settings
from services.query.clickhouse.client import MAX_MEMORY_BYTES, MAX_RUNNING, Store
from services.query.clickhouse.reasons import is_short_of_memory, too_much
from services.query.http.leaving import unless_left
from services.query.queries.cache import MAX_ANSWER_BYTES, AnswerCache
from tests.services.query.conftest import eventually
from tests.services.query.queries.asking import ms
from tests.warehouse import Event, Warehouse

TRENDS = "/api/projects/shop/query/trends"
CLOSED = {"series": [{}], "from": "2026-11-01", "to": "2026-11-02"}


async def test_a_query_that_needs_too_much_is_refused_and_says_what_to_narrow(
    warehouse: Warehouse,
) -> None:
    assert MAX_MEMORY_BYTES <= 2 << 30
    store = Store(warehouse.settings)
    greedy = "SELECT uniqExact(number) FROM numbers(60000000)"
    try:
        with pytest.raises(InvalidRequest, match="ask for a shorter range"):
            await store.columns("shop", greedy, {})
        with pytest.raises(InvalidRequest, match="shorter range"):
            await store.columns("shop", "SELECT number FROM numbers(1000001)", {})
        groups = "SELECT number % 1000000 AS k FROM numbers(3000000) GROUP BY k"
        frugal = f"SELECT count() FROM ({groups})"
        answers = await asyncio.gather(*(store.columns("shop", frugal, {}) for _ in range(8)))
        assert {int(columns[0][0]) for columns in answers} == {1_000_000}
    finally:
        await store.close()
    assert MAX_RUNNING >= 2


class Failed(Exception):
    """An error as ClickHouse's client raises it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(
            f"Received ClickHouse exception, code: {code}, server response: Code: {code}. "
            f"DB::Exception: {text} (version 26.9.2.1) (for url http://127.0.0.1:8123)"
        )
        self.code = code


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (241, "Query memory limit exceeded: would use 1 GiB (MEMORY_LIMIT_EXCEEDED)", "memory"),
        (241, "Memory limit (for query) exceeded: would use 1 GiB", "memory"),
        (159, "Timeout exceeded: elapsed 30.1 s, maximum: 30 s. (TIMEOUT_EXCEEDED)", "longer"),
        (158, "Limit for rows or bytes to read exceeded: In scope SELECT secret", "reads more"),
        (396, "Limit for result exceeded, max rows: 1.00: While executing X", "the result has"),
    ],
)
def test_a_limit_is_named_without_what_clickhouse_adds(code: int, text: str, said: str) -> None:
    error = Failed(code, text)
    refusal = too_much(error) or ""
    assert said in refusal.partition(":")[0]
    assert "ask for a shorter range" in refusal
    for added in ("server response", "version", "url", "secret", "While executing"):
        assert added not in refusal


@pytest.mark.parametrize(
    "text", ["(total) memory limit exceeded: would use 4 GiB", "User memory limit exceeded: 2 GiB"]
)
def test_memory_that_others_use_is_no_fault_of_the_query(text: str) -> None:
    error = Failed(241, text)
    assert too_much(error) is None
    assert is_short_of_memory(error)


@pytest.fixture
def settings(settings: Settings, warehouse: Warehouse) -> Settings:
    """A deployment whose store is there."""
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


@pytest.mark.usefixtures("settings")
async def test_the_same_question_about_the_same_events_is_answered_once(
    query: httpx.AsyncClient, warehouse: Warehouse
) -> None:
    warehouse.write([Event("shop", "ann", "buy", ms("2026-11-01T10:00:00Z"))])

    async def hits() -> dict[str, float]:
        lines = (await query.get("/metrics")).text.splitlines()
        found = (line.split() for line in lines if line.startswith("avila_query_cache_requests_t"))
        return {name.partition('"')[2].rstrip('"}'): float(count) for name, count in found}

    first = await eventually(
        lambda: query.post(TRENDS, json=CLOSED),
        lambda one: one.json()["complete_until"] is not None,
    )
    before = await hits()
    again = await query.post(TRENDS, json=CLOSED)
    assert again.content == first.content
    assert (await hits())["hit"] == before["hit"] + 1
    other = await query.post(TRENDS, json=CLOSED | {"top": 3})
    assert other.json()["as_of"] != first.json()["as_of"]

    running = {"series": [{}], "from": "2026-11-01", "interval": "month"}
    earlier = await query.post(TRENDS, json=running)
    warehouse.write([Event("shop", "ann", "buy", ms("2026-11-01T10:00:00Z"))])
    later = await query.post(TRENDS, json=running)
    assert later.json()["positions"] != earlier.json()["positions"]
    assert (earlier.json()["trends"][0]["total"], later.json()["trends"][0]["total"]) == (1, 2)


def test_answers_are_kept_within_bounds_of_memory_and_time() -> None:
    now = 0.0
    cache = AnswerCache(10_000, clock=lambda: now)
    for number in range(20):
        cache.put(number, b"x" * 1_000, 5)
        assert cache.bytes <= 10_000
    assert cache.get(0) is None
    assert cache.get(19) == b"x" * 1_000
    cache.get(16)  # which was used last, and is kept
    for number in range(20, 24):
        cache.put(number, b"x" * 1_000, 5)
    assert cache.get(16) is not None
    now = 5.0
    assert cache.get(16) is None
    cache.put("large", b"x" * (MAX_ANSWER_BYTES + 1), 5)
    assert cache.get("large") is None
    assert (cache.hits, cache.misses) == (3, 3)


async def test_the_work_for_a_client_that_has_left_is_ended() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    began = time.monotonic()
    with pytest.raises(HTTPException):
        await unless_left(Request({"type": "http"}, leave), work())
    assert ended.is_set()
    assert time.monotonic() - began < 10


async def test_who_stays_is_answered() -> None:
    async def stay() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")

    async def work() -> str:
        return json.dumps("done")

    assert await unless_left(Request({"type": "http"}, stay), work()) == '"done"'
