"""What the figures of a link show of events that are in the store: no persons, no conditions."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from schemas.settings import Settings
from tests.credentials import TOKEN, bearer
from tests.oracles.events import Event
from tests.processes import eventually
from tests.services.query.conftest import prepared, serve_in_thread
from tests.services.query.queries.asking import ms
from tests.services.query.recorded import Recorded
from tests.warehouse import Warehouse

AT = ms("2026-11-10T10:00:00Z")
PERSONS = ("ada@secret.example", "bob@secret.example")
WHERE = [{"property": "plan", "value": "secret-plan"}]
SERIES = [{"event": "buy", "where": WHERE}]
DAYS = {"from": "2026-11-01", "to": "2026-11-30"}
ASKED: dict[str, Any] = {"where": WHERE, **DAYS}
STEPS = [{"event": "buy", "where": WHERE}, {"event": "view"}]
TILES: list[dict[str, Any]] = [
    {"kind": "feed", "id": "feed"},
    {"kind": "trend", "id": "trend", "query": {"series": SERIES, **DAYS}},
    {"kind": "number", "id": "number", "query": {"series": SERIES, "compare": True, **DAYS}},
    {"kind": "top", "id": "top", "query": ASKED},
    {
        "kind": "query",
        "id": "funnel",
        "of": "funnel",
        "query": {**DAYS, "funnel": {"steps": STEPS}},
    },
    {"kind": "query", "id": "paths", "of": "paths", "query": ASKED},
    {"kind": "query", "id": "lifecycle", "of": "lifecycle", "query": ASKED},
    {"kind": "funnel", "id": "defined", "funnel": "f"},
    {"kind": "segment", "id": "buyers", "segment": "s"},
]
BOARD = {"tiles": TILES, "range": DAYS, "where": WHERE}


@pytest.fixture
def api(settings: Settings, warehouse: Warehouse) -> Iterator[httpx.Client]:
    """A service with some events and definitions, asked with a token."""
    recorded = Recorded(settings, warehouse)
    plan = {"plan": "secret-plan"}
    recorded.write(
        [
            Event(person, event, AT + 1_000 * place, plan)
            for place, event in enumerate(("buy", "view"))
            for person in PERSONS
        ]
    )
    recorded.commit_as_sink({0: 4, 1: 0})
    stored = msgspec.structs.replace(
        prepared(settings),
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    with serve_in_thread(stored) as port:
        project = f"http://127.0.0.1:{port}/api/projects/shop/"
        transport = httpx.HTTPTransport(retries=3)
        with httpx.Client(
            base_url=project, headers=bearer(TOKEN), transport=transport, timeout=60
        ) as client:
            assert eventually(lambda: client.get("dashboards").status_code == 200, 60)
            yield client


def test_no_figure_of_a_link_names_a_person_a_condition_or_the_id_of_an_event(
    api: httpx.Client,
) -> None:
    rule = {"performed": {"event": "buy", "where": WHERE}}
    for path, body in (
        ("funnels", {"id": "f", "name": "Sale", "steps": STEPS}),
        ("segments", {"id": "s", "name": "Buyers", "rule": rule}),
    ):
        assert api.post(path, json=body).status_code == 201
    made = api.put("dashboards/board", json=BOARD)
    assert made.status_code == 201, made.text
    link = api.post("dashboards/board/links", json={}).json()["path"]
    page, _, secret = link.partition("#")
    for tile in TILES:
        answer = api.get(
            str(api.base_url.copy_with(path=f"{page}/tiles/{tile['id']}")), headers=bearer(secret)
        )
        assert answer.status_code == 200, (tile, answer.text)
        for hidden in (*PERSONS, "secret", "positions", "person_id", "distinct_id"):
            assert hidden not in answer.text, tile
        if tile["id"] == "feed":
            shown = answer.json()["figures"]["events"]
            assert [one["event"] for one in shown] == ["view", "view", "buy", "buy"]
            stored = api.post("query/events", json={}).json()["events"]
            ids = {one["event_id"] for one in shown}
            assert len(ids) == len(shown)
            assert ids.isdisjoint(one["event_id"] for one in stored)
