"""`verify`: ClickHouse counts what the stream counts; if not, what differs is found and named."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import pytest

from schemas.settings import Settings
from tests.oracles.events import Event
from tests.pipelines.in_process import Engine
from tests.services.query.conftest import eventually, ready, serve
from tests.services.query.recorded import Recorded
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

API: Final = "/api/projects/shop"
NOON: Final = 1_790_000_000_000
HOUR_MS: Final = 3_600_000
STEPS: Final = [{"event": "home"}, {"event": "cart"}]
DEFINITIONS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("funnels", {"id": "plain", "steps": STEPS}),
    (
        "funnels",
        {
            "id": "options",
            "steps": STEPS,
            "entries": True,
            "breakdown": {"property": "plan"},
            "exclusions": [{"event": "refund"}],
        },
    ),
    ("cohorts", {"id": "it", "start": {"event": "home"}, "breakdown": {"property": "plan"}}),
    ("segments", {"id": "it", "rule": {"performed": {"event": "home", "at_least": 1}}}),
    ("metrics", {"id": "persons", "measure": "persons"}),
    ("metrics", {"id": "sum", "measure": "sum", "property": "price"}),
    ("metrics", {"id": "percentiles", "measure": "percentiles", "property": "price"}),
    ("metrics", {"id": "top", "measure": "top", "property": "plan"}),
]
EVENTS: Final = [
    Event(f"p{number}", name, NOON + number * 1_000 + later, {"plan": number % 3, "price": 0.1})
    for number in range(40)
    for name, later in (("home", 0), ("cart", 5_000), ("home", HOUR_MS), ("refund", HOUR_MS // 2))
]


class System(NamedTuple):
    """A query service, and what is in the log, in the store and on the stream."""

    client: httpx.AsyncClient
    recorded: Recorded

    async def verify(self, plural: str, name: str, **parameters: str) -> dict[str, Any]:
        answer = await self.client.get(f"{API}/{plural}/{name}/verify", params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def system(settings: Settings, warehouse: Warehouse) -> AsyncIterator[System]:
    """All kinds of definitions of 40 persons, counted by the engine and kept in the store."""
    recorded = Recorded(settings, warehouse)
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
        partitions=1,
    )
    async with serve(with_store) as client:
        await ready(client)
        for plural, body in DEFINITIONS:
            assert (await client.post(f"{API}/{plural}", json=body)).status_code == 201
        recorded.write(EVENTS)
        with contextlib.closing(await asyncio.to_thread(Engine, settings)) as engine:
            await asyncio.to_thread(
                engine.await_definitions,
                lambda engine: len(engine.partition.instances) == len(DEFINITIONS),
            )
            await asyncio.to_thread(engine.run)
        for plural, body in DEFINITIONS:
            await eventually(
                partial(client.get, f"{API}/{plural}/{body['id']}/results"),
                lambda answer: (
                    answer.json()["positions"] == {"0": len(EVENTS)}
                    and answer.json()["state"] == "live"
                ),
            )
        yield System(client, recorded)


async def test_the_stream_and_the_store_count_the_same(system: System) -> None:
    for plural, body in DEFINITIONS:
        found = await system.verify(plural, body["id"])
        assert found["equal"], found
        assert (found["figures"], found["persons"], found["events"]) == ([], [], [])
        assert (found["cause"], found["positions"]) == (None, {"0": len(EVENTS)})


async def test_a_row_that_the_store_has_lost_is_found_and_its_person_named(
    system: System, warehouse: Warehouse
) -> None:
    lost = next(place for place, one in enumerate(EVENTS) if one[:2] == ("p7", "home"))
    table = system.recorded.table
    warehouse.client.command(
        f"ALTER TABLE {table} DELETE WHERE person_id = 'p7' AND event = 'home'",
        settings={"mutations_sync": 2},
    )
    for plural, body in DEFINITIONS:
        found = await system.verify(plural, body["id"])
        if body["id"] == "top":  # what it shows is approximated, but the events are counted
            assert "buckets" in found["figures"][0]["figure"]
        assert not found["equal"]
        assert found["cause"] == "store"
        assert [one["person"] for one in found["persons"]] == ["p7"]
        assert found["differing"] == len(found["figures"]) > 0
        (first, _) = found["events"]
        assert (first["offset"], first["problem"]) == (lost, "missing_in_store")
        assert found["next"] is None
    (figure, *_) = (await system.verify("segments", "it"))["figures"]
    assert figure == {"figure": "persons", "stream": 40, "store": 39}
    assert (await system.verify("segments", "it"))["persons"][0]["problem"] == "only_on_stream"


async def test_a_row_that_the_log_never_had_is_found_and_its_person_named(system: System) -> None:
    inside = len(EVENTS) - 1  # an offset that another event has: the positions are no further
    system.recorded.keep([Row("shop", "eve", "home", NOON, "{}", 0, inside)])
    found = await system.verify("funnels", "plain")
    assert not found["equal"]
    assert {"figure": "totals.steps[1].reached", "stream": 40, "store": 41} in found["figures"]
    assert [one["problem"] for one in found["events"]] == ["twice_in_store"]
    assert found["cause"] == "store"
    members = await system.verify("segments", "it")
    assert {"person": "eve", "problem": "only_in_store"}.items() <= members["persons"][0].items()


async def test_events_beyond_the_streams_positions_are_not_counted(system: System) -> None:
    system.recorded.write([Event("new", "home", NOON)])
    for plural, body in DEFINITIONS:
        assert (await system.verify(plural, body["id"]))["equal"]


async def test_the_store_is_waited_for_and_the_cursor_is_checked(system: System) -> None:
    for wrong in ("", "0", "0:x", "x:0", ":", "-1:0", "0:" + "9" * 30):
        answer = await system.client.get(f"{API}/funnels/plain/verify", params={"after": wrong})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "after")
    assert (await system.verify("funnels", "plain", after="5:0"))["equal"]
