"""Dashboards over REST, on the real topic, and the figures of their tiles."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from schemas.dashboards import (
    MAX_DASHBOARDS_PER_PROJECT,
    MAX_TILES,
    Dashboard,
    DashboardDefinition,
    decode,
    encode,
)
from schemas.errors import BackOff
from schemas.settings import Settings
from services.query.dashboards.recent import KEPT_S, RecentAnswers
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import Worker, ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS
from tests.services.query.test_results import reaches

DASHBOARDS = "/api/projects/shop/dashboards"
TILE = "/api/projects/shop/tile"
TILES: list[dict[str, Any]] = [
    {"kind": "funnel", "id": "buys", "funnel": "buy", "width": 4},
    {"kind": "number", "id": "n", "query": {"series": [{"event": "home"}], "compare": True}},
    {"kind": "text", "id": "note", "text": "What the shop sells"},
]
SHOP: dict[str, Any] = {"name": "The shop", "tiles": TILES, "range": {"last_days": 7}}


async def test_a_dashboard_is_made_read_changed_and_deleted(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    made = await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    shown = made.json()
    assert [tile["id"] for tile in shown["tiles"]] == ["buys", "n", "note"]
    assert shown["tiles"][1]["query"] == TILES[1]["query"]
    assert (await query.get(f"{DASHBOARDS}/shop")).json() == shown
    assert (await query.get(DASHBOARDS)).json() == {"dashboards": [shown], "next": None}

    # What is shown may be sent back, and only what tiles show makes another version.
    renamed = await query.put(f"{DASHBOARDS}/shop", json=shown | {"name": "Shop"})
    assert (renamed.json()["revision"], renamed.json()["version"]) == (2, 1)
    moved = SHOP | {"name": "Shop", "tiles": TILES[::-1]}
    stale = await query.put(f"{DASHBOARDS}/shop", json=moved, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "conflict")
    right = await query.put(f"{DASHBOARDS}/shop", json=moved, headers={"If-Match": '"2"'})
    assert (right.json()["revision"], right.json()["version"]) == (3, 2)
    assert [tile["id"] for tile in right.json()["tiles"]] == ["note", "n", "buys"]

    assert (await query.delete(f"{DASHBOARDS}/shop")).status_code == 204
    assert (await query.get(f"{DASHBOARDS}/shop")).status_code == 404
    again = await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    assert (again.status_code, again.json()["revision"]) == (201, 4)
    messages = read_all(settings.bootstrap, settings.topics.definitions.name)
    values = [m.value() for m in messages if m.key() == b"shop/dashboard/shop"]
    assert [value and decode(value).revision for value in values] == [1, 2, 3, None, 4]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tiles": [{"kind": "pie", "id": "a"}]}, "tiles[0].kind"),
        ({"tiles": [{"kind": "funnel", "id": "a"}]}, "tiles[0]"),
        ({"tiles": [{"kind": "funnel", "id": "a", "funnel": "b", "x": 1}]}, "tiles[0]"),
        ({"tiles": [TILES[0], TILES[0]]}, "tiles[1].id"),
        ({"tiles": [{**TILES[0], "width": 5}]}, "tiles[0].width"),
        ({"tiles": [{"kind": "text", "id": "a", "text": "x" * 2_001}]}, "tiles[0].text"),
        ({"tiles": [{**TILES[2], "id": f"t{n}"} for n in range(MAX_TILES + 1)]}, "tiles"),
        (
            {"tiles": [{"kind": "trend", "id": "a", "query": {"series": [{"measure": "x"}]}}]},
            "tiles[0].query.series[0].measure",
        ),
        (
            {"tiles": [{"kind": "top", "id": "a", "query": {"search": "x" * 17_000}}]},
            "tiles[0].query",
        ),
        (
            {"tiles": [{"kind": "top", "id": "a", "query": {"as_of": "0:1"}}]},
            "tiles[0].query.as_of",
        ),
        ({"tiles": [{"kind": "query", "id": "a", "of": "persons", "query": {}}]}, "tiles[0].of"),
        ({"range": {"last_days": 7, "from": "2026-01-01"}}, "range.last_days"),
        ({"range": {"from": "2026-02-30"}}, "range.from"),
        ({"range": {"from": "0001-01-01"}}, "range.from"),
        ({"range": {"from": "2026-02-28", "to": "9999-12-31"}}, "range.to"),
        ({"range": {"from": "2026-02-28\n"}}, "range.from"),
        ({"range": {"from": "2026-02-02", "to": "2026-02-01"}}, "range.from"),
        ({"where": [{"op": "equals", "value": 1}]}, "where[0]"),
        ({"name": "x" * 1_001}, "name"),
        ({"id": "other"}, "id"),
    ],
)
async def test_a_dashboard_that_cannot_be_is_refused_with_its_field(
    query: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    answer = await query.put(f"{DASHBOARDS}/shop", json=SHOP | changes)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"].startswith(field), answer.text
    assert (await query.get(f"{DASHBOARDS}/shop")).status_code == 404


async def test_the_kinds_of_tiles_are_named_where_one_is_unknown(query: httpx.AsyncClient) -> None:
    body = {"tiles": [{"kind": "pie", "id": "a"}]}
    message = (await query.put(f"{DASHBOARDS}/shop", json=body)).json()["error"]["message"]
    assert "`funnel`, `cohort`, `metric`" in message


async def test_a_project_has_a_maximum_of_dashboards(settings: Settings) -> None:
    def definition(number: int) -> DashboardDefinition:
        times: dict[str, Any] = {"created_at": 1, "updated_at": 1}
        name = f"d{number}"
        return DashboardDefinition(
            project_id="shop", id=name, version=1, **times, dashboard=Dashboard(name=name)
        )

    held = [definition(number) for number in range(MAX_DASHBOARDS_PER_PROJECT)]
    records = [Record(encode(one), one.key) for one in held]
    produce(settings.bootstrap, settings.topics.definitions.name, records)
    async with serve(settings) as query:
        await ready(query)
        answer = await query.put(f"{DASHBOARDS}/shop", json=SHOP)
        assert (answer.status_code, str(MAX_DASHBOARDS_PER_PROJECT) in answer.text) == (409, True)
        assert (await query.put(f"{DASHBOARDS}/d1", json=SHOP)).status_code == 200


async def test_a_tile_has_the_figures_of_what_it_shows(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await query.post(FUNNELS, json=BUY | {"id": "buy"})
    worker.publish({"reached": [9, 4]})
    await reaches(query, [9, 4])
    answer = await query.post(TILE, json={"tile": TILES[0]})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["id"], shown["answered_by"], shown["ignores"]) == ("buys", "stream", [])
    results = (await query.get(f"{FUNNELS}/buy/results")).json()
    assert shown["figures"]["totals"] == results["totals"]
    text = (await query.post(TILE, json={"tile": TILES[2]})).json()
    assert (text["answered_by"], text["figures"]) == ("nothing", None)
    none = await query.post(TILE, json={"tile": {**TILES[0], "funnel": "none"}})
    assert (none.status_code, "no funnel none" in none.text) == (404, True)


async def test_a_tile_that_is_filtered_or_of_some_days_is_counted_in_clickhouse(
    query: httpx.AsyncClient,
) -> None:
    await query.post(FUNNELS, json=BUY | {"id": "buy"})
    for scope in ({"range": {"last_days": 7}}, {"where": [{"property": "a", "value": 1}]}):
        # ClickHouse is away in these tests.
        answer = await query.post(TILE, json={"tile": TILES[0], **scope})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    bad = await query.post(TILE, json={"tile": TILES[0], "where": [{"property": "a"}]})
    assert (bad.status_code, bad.json()["error"]["field"]) == (400, "where[0].value")


async def test_many_who_ask_at_once_are_answered_by_one_and_a_failure_is_not_kept() -> None:
    now, made = [0.0], []
    recent = RecentAnswers(lambda: now[0])

    async def make() -> bytes:
        made.append(now[0])
        await asyncio.sleep(0)
        if len(made) == 1:
            raise RuntimeError("away")
        return b"%d" % len(made)

    answers = await asyncio.gather(
        *(recent.get("tile", make) for _ in range(200)), return_exceptions=True
    )
    assert [type(one) for one in answers].count(RuntimeError) == 1
    assert [one for one in answers if isinstance(one, bytes)] == [b"2"] * 199
    now[0] = 1.0
    assert await recent.get("tile", make) == b"3"
    assert msgspec.json.decode(await recent.get("other", make)) == 4


async def test_what_cannot_be_answered_is_asked_for_once_a_moment_and_not_by_each_viewer() -> None:
    now, made = [0.0], []
    recent = RecentAnswers(lambda: now[0])

    async def make() -> bytes:
        made.append(now[0])
        await asyncio.sleep(0)
        if len(made) == 1:
            raise BackOff("the store is busy", 2)
        return b"%d" % len(made)

    answers = await asyncio.gather(
        *(recent.get("tile", make) for _ in range(200)), return_exceptions=True
    )
    assert [type(one) for one in answers] == [BackOff] * 200
    assert made == [0.0]
    now[0] = KEPT_S
    assert await recent.get("tile", make) == b"2"
