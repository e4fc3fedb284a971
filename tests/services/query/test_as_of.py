"""Figures as of earlier positions, over HTTP: copied from an answer, or a time."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest

from schemas.errors import InvalidRequest
from schemas.settings import Settings
from schemas.time.rfc3339 import write_time
from services.query.log.as_of import parse, text_of
from tests.oracles.events import Event
from tests.services.query.conftest import ready, serve
from tests.services.query.recorded import Recorded
from tests.warehouse import Warehouse

API: Final = "/api/projects/shop"
NOON: Final = 1_790_000_000_000
BODIES: Final = {
    "funnels": {"id": "it", "steps": [{"event": "home"}, {"event": "cart"}]},
    "cohorts": {"id": "it", "start": {"event": "home"}},
    "segments": {"id": "it", "rule": {"performed": {"event": "home", "within_s": 60}}},
    "metrics": {"id": "it", "measure": "persons"},
}
FIRST: Final = [
    Event("ann", "home", NOON),
    Event("ann", "cart", NOON + 1_000),
    Event("ben", "home", NOON + 2_000),
]
LATER: Final = [Event("ben", "cart", NOON + 3_000), Event("cem", "home", NOON + 90_000)]
# What says when an answer was given, and not what was counted.
MOVING: Final = {"updated_at"}


@pytest.fixture
def recorded(settings: Settings, warehouse: Warehouse) -> Recorded:
    return Recorded(settings, warehouse)


@pytest.fixture
async def service(settings: Settings, warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A query service with one definition of each kind."""
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    async with serve(with_store) as client:
        await ready(client)
        for plural, body in BODIES.items():
            assert (await client.post(f"{API}/{plural}", json=body)).status_code == 201
        yield client


async def ask(client: httpx.AsyncClient, path: str, **parameters: str) -> dict[str, Any]:
    base, _, query = path.partition("?")
    parameters |= dict(parse_qsl(query))
    answer = await client.get(f"{API}/{base}", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return {name: value for name, value in found.items() if name not in MOVING}


async def refused(client: httpx.AsyncClient, as_of: str, status: int = 400) -> str:
    answer = await client.get(f"{API}/funnels/it/results", params={"as_of": as_of})
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert status != 400 or error["field"] == "as_of"
    return str(error["message"])


async def test_an_answer_is_found_again_by_its_own_positions_whatever_came_since(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write(FIRST[:2], partition=0)
    recorded.write(FIRST[2:], partition=1)
    paths = [
        *(f"{plural}/it/results" for plural in BODIES),
        "funnels/it/times",
        "funnels/it/persons",
        "segments/it/members",
        "cohorts/it/persons?begin=2026-09-21",
    ]
    clock = {"clock": write_time(NOON + 2_000)}
    before = {
        path: await ask(service, path, as_of="0:2,1:1", **_clock(path, clock)) for path in paths
    }
    assert before["funnels/it/results"]["totals"]["steps"][1]["reached"] == 1
    assert before["segments/it/results"]["persons"] == 2
    assert before["cohorts/it/persons?begin=2026-09-21"]["persons"] == ["ann", "ben"]
    recorded.write(LATER[:1], partition=1)
    recorded.write(LATER[1:], partition=0)
    for path, answer in before.items():
        assert answer["positions"] == {"0": 2, "1": 1}
        assert answer["complete_until"] == write_time(NOON + 2_000 - 3_600_000).replace(".000", "")
        for form in ("0:2,1:1", msgspec.json.encode(answer["positions"]).decode()):
            assert answer == await ask(service, path, as_of=form, **_clock(path, clock)), path
    now = await ask(service, "funnels/it/results", source="store")
    assert now["totals"]["steps"][1]["reached"] == 2
    assert now["positions"] == {"0": 3, "1": 2}


def moment() -> str:
    """A time that lies between what was done before and what is done after."""
    before = time.time_ns() // 1_000_000
    while (now := time.time_ns() // 1_000_000) <= before + 1:
        pass
    return write_time(now)


def _clock(path: str, clock: dict[str, str]) -> dict[str, str]:
    return clock if path.startswith(("segments", "metrics")) else {}


async def test_the_clock_of_a_prefix_is_that_of_its_newest_event_unless_it_is_given(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write([*FIRST, *LATER])
    path = "segments/it/results"
    assert (await ask(service, path, as_of="0:3"))["persons"] == 2
    assert (await ask(service, path, as_of="0:5"))["persons"] == 1
    late = write_time(NOON + 3_600_000)
    found = await ask(service, path, as_of="0:5", clock=late)
    assert (found["persons"], found["clock"]) == (0, late.replace(".000", ""))
    answer = await service.get(f"{API}/{path}", params={"clock": late})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "clock")


async def test_a_time_means_the_events_that_were_appended_before_it(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    path = "funnels/it/results"
    start = moment()
    recorded.write(FIRST)
    between = moment()
    recorded.write(LATER)
    assert (await ask(service, path, as_of=start))["positions"] == {"0": 0, "1": 0}
    found = await ask(service, path, as_of=between)
    assert found["positions"] == {"0": 3, "1": 0}
    assert found["totals"]["steps"][1]["reached"] == 1
    end = moment()
    assert (await ask(service, path, as_of=end))["positions"] == {"0": 5, "1": 0}


async def test_what_is_not_kept_is_refused_with_what_is(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    start = moment()
    recorded.write([*FIRST, *LATER])
    assert "accepted are 0 to 5" in await refused(service, "0:6")
    assert "accepted are 0 to 1" in await refused(service, "2:0")
    recorded.delete_below(2)
    assert "accepted are 2 to 5" in await refused(service, "0:1,1:0")
    assert "accepted are times after" in await refused(service, start)
    assert "not ahead" in await refused(service, "2999-01-01")
    assert (await ask(service, "funnels/it/results", as_of="0:2"))["positions"] == {"0": 2}


async def test_what_the_store_lacks_is_asked_again_and_markers_are_not_waited_for(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    recorded.write(FIRST)
    recorded.end_transaction()
    assert (await ask(service, "funnels/it/results", as_of="0:5"))["positions"] == {"0": 5}
    missing = recorded.record(LATER)
    message = await refused(service, "0:7", status=503)
    assert "as_of=0:5" in message
    recorded.keep(missing)
    found = await ask(service, "funnels/it/results", as_of="0:7")
    assert found["totals"]["steps"][1]["reached"] == 2


async def test_other_texts_are_refused_with_what_is_accepted(service: httpx.AsyncClient) -> None:
    texts = [
        "",
        "0",
        "0:",
        ":1",
        "0:1,",
        "0:1,0:2",
        "0:-1",
        "{}x",
        '{"0":"1"}',
        "[]",
        "now",
        "0:1 ",
    ]
    for text in texts:
        assert "0:120,1:98" in await refused(service, text), text


async def test_the_stream_has_no_earlier_figures(service: httpx.AsyncClient) -> None:
    answer = await service.get(f"{API}/funnels/it/results?source=stream&as_of=0:0")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "as_of")


def test_positions_are_read_as_they_are_written() -> None:
    for positions in ({0: 0}, {1: 2**63 - 1, 0: 5}):
        assert parse(text_of(positions)) == positions
        assert parse(msgspec.json.encode(positions).decode()) == positions
    for text in ("0:9223372036854775808", "9" * 60_000, '{"-1":3}'):
        with pytest.raises(InvalidRequest):
            parse(text)
