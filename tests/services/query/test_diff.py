"""`diff`: what changed between two answers, and by which late events."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import msgspec
import pytest

from schemas.settings import Settings
from tests.oracles.events import Event
from tests.services.query.conftest import ready, serve
from tests.services.query.recorded import Recorded
from tests.services.query.test_as_of import API, BODIES, NOON
from tests.warehouse import Warehouse

HOUR: Final = 3_600_000


@pytest.fixture
def recorded(settings: Settings, warehouse: Warehouse) -> Recorded:
    return Recorded(settings, warehouse)


@pytest.fixture
async def service(settings: Settings, warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A query service with one definition of each kind, and some that look at all events."""
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    more: dict[str, dict[str, Any]] = {
        "funnels": {
            "id": "strict",
            "steps": [{"event": "home"}, {"event": "cart"}],
            "order": "strict",
        },
        "segments": {
            "id": "pro",
            "rule": {"person": [{"property": "plan", "op": "equals", "value": "pro"}]},
        },
    }
    async with serve(with_store) as client:
        await ready(client)
        for bodies in (BODIES, more):
            for plural, body in bodies.items():
                assert (await client.post(f"{API}/{plural}", json=body)).status_code == 201
        yield client


async def changed(client: httpx.AsyncClient, path: str, **parameters: str) -> dict[str, Any]:
    answer = await client.get(f"{API}/{path}/diff", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_late_events_between_two_answers_are_listed_with_what_they_changed(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write([Event("ann", "cart", NOON), Event("ben", "home", NOON)], partition=0)
    recorded.write([Event("cem", "home", NOON)], partition=1)
    recorded.write(
        [
            Event("ann", "home", NOON - 60_000),  # a minute late, and now ann has both steps
            Event("ann", "scroll", NOON - 60_000),  # nobody asks for it but those that look at all
            Event("ben", "home", NOON + 1_000),
            Event("ben", "cart", NOON - 2 * HOUR),  # too late
        ],
        partition=0,
    )
    found = await changed(service, "funnels/it", **{"from": "0:2,1:1"})
    assert (found["from"], found["to"]) == ({"0": 2, "1": 1}, {"0": 6, "1": 1})
    late = [
        (one["person"], one["event"], one["late_by_ms"], one["too_late"]) for one in found["events"]
    ]
    assert late == [("ann", "home", 60_000, False), ("ben", "cart", 2 * HOUR + 1_000, True)]
    figures = {one["figure"]: (one["before"], one["after"]) for one in found["figures"]}
    assert figures["totals.steps[1].reached"] == (2, 3)
    assert figures["totals.steps[2].reached"] == (0, 1)
    everything = await changed(service, "funnels/it", events="all", **{"from": "0:2,1:1"})
    assert [one["offset"] for one in everything["events"]] == [2, 4, 5]
    rest = await changed(service, "funnels/it", after="0:3", **{"from": "0:2,1:1"})
    assert [one["offset"] for one in rest["events"]] == [5]
    for path in ("funnels/strict", "segments/pro"):
        all_events = await changed(service, path, **{"from": "0:2,1:1"})
        assert [one["event"] for one in all_events["events"]] == ["home", "scroll", "cart"]
    for plural in BODIES:
        later = await changed(service, f"{plural}/it", events="all", **{"from": "0:2,1:1"})
        assert later["events"]
        same = await changed(service, f"{plural}/it", **{"from": "0:2,1:1", "to": "0:2,1:1"})
        assert (same["differing"], same["figures"], same["events"]) == (0, [], [])


async def test_positions_that_are_left_out_or_reversed_are_refused(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write([Event("ann", "home", NOON)] * 3)
    for parameters, field in (
        ({}, "from"),
        ({"from": "x"}, "from"),
        ({"from": "0:9"}, "from"),
        ({"from": "0:0", "to": "0:9"}, "to"),
        ({"from": "0:2", "to": "0:1"}, "from"),
        ({"from": "0:0", "events": "some"}, "events"),
        ({"from": "0:0", "after": "x"}, "after"),
    ):
        answer = await service.get(f"{API}/metrics/it/diff", params=parameters)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field), parameters


async def test_numbers_out_of_all_ranges_are_answered(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write([Event("ann", "home", NOON)])
    most = "9" * 18
    for path, parameters in (
        ("metrics/it/diff", {"from": "0:0", "after": f"{most}:{most}"}),
        ("funnels/it/verify", {"after": f"{most}:{most}"}),
        ("funnels/it/persons/ann/trace", {"after": f"-{'9' * 17}:{'9' * 17}"}),
        ("metrics/it/results", {"as_of": "0:1", "clock": "1970-01-01"}),
        ("segments/it/members", {"as_of": "0:1", "clock": "1970-01-01"}),
    ):
        answer = await service.get(f"{API}/{path}", params=parameters)
        assert answer.status_code == 200, (path, answer.text)
    for clock in ("9999-12-31", "2200-01-01"):
        parameters = {"as_of": "0:1", "clock": clock}
        answer = await service.get(f"{API}/metrics/it/results", params=parameters)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "clock")
    answer = await service.get(f"{API}/funnels/it/results?as_of=" + f"{'9' * 6}:{'9' * 19}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "as_of")
