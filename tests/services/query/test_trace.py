"""`trace`: what each event of a person did in a funnel, over HTTP and from the store."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.operators.funnel import FunnelDefinition
from schemas.settings import Settings
from services.query.trace.chains import chains
from services.query.trace.sql import FIRST, line_statement, read_line
from tests.laws import funnel as law
from tests.laws.driver import definition_of
from tests.laws.entry import Case
from tests.oracles import funnel as oracle
from tests.oracles.events import Event
from tests.services.query.conftest import ready, serve
from tests.services.query.recorded import Recorded
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

API: Final = "/api/projects/shop"
NOON: Final = 1_790_000_000_000
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
FUNNEL: Final = {
    "id": "buy",
    "window_s": 3_600,
    "steps": [
        {"event": "home"},
        {"event": "cart", "where": [{"property": "price", "op": "gt", "value": 10}]},
        {"event": "purchase"},
    ],
    "exclusions": [{"event": "refund", "after": 2}],
    "hold_constant": ["plan"],
}


@pytest.fixture
def recorded(settings: Settings, warehouse: Warehouse) -> Recorded:
    return Recorded(settings, warehouse)


@pytest.fixture
async def service(settings: Settings, warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A query service with a funnel that has options."""
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    async with serve(with_store) as client:
        await ready(client)
        assert (await client.post(f"{API}/funnels", json=FUNNEL)).status_code == 201
        yield client


async def traced(client: httpx.AsyncClient, person: str, **parameters: Any) -> dict[str, Any]:
    path = f"{API}/funnels/buy/persons/{person}/trace"
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(found: dict[str, Any]) -> list[list[str]]:
    return [[effect["code"] for effect in event["effects"]] for event in found["events"]]


def texts(found: dict[str, Any]) -> list[str]:
    return [effect["text"] for event in found["events"] for effect in event["effects"]]


async def test_each_event_says_what_it_did_in_words_and_codes(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    pro, cheap = {"plan": "pro", "price": 20}, {"plan": "pro", "price": 5}
    recorded.write(
        [
            # Ann's window closes four minutes before she buys.
            Event("ann", "home", NOON, pro),
            Event("ann", "cart", NOON + MINUTE, cheap),
            Event("ann", "purchase", NOON + 2 * MINUTE, pro),
            Event("ann", "cart", NOON + 3 * MINUTE, pro | {"plan": "free"}),
            Event("ann", "cart", NOON + 4 * MINUTE, pro),
            Event("ann", "purchase", NOON + HOUR + 4 * MINUTE, pro),
            # Ben is excluded, and begins again.
            Event("ben/1", "home", NOON, pro),
            Event("ben/1", "refund", NOON + 1, pro),
            Event("ben/1", "home", NOON + 2, pro),
            Event("ben/1", "cart", NOON + 3, pro),
            Event("ben/1", "refund", NOON + 4, pro),
            # Dan's cart is of the same millisecond as his entry.
            Event("dan", "home", NOON, pro),
            Event("dan", "cart", NOON, cheap),
            # Cem's first event arrives two hours late.
            Event("cem", "cart", NOON + 2 * HOUR, pro),
            Event("cem", "home", NOON + 2 * HOUR - MINUTE, pro),
            Event("cem", "home", NOON, pro),
        ]
    )
    ann = await traced(service, "ann")
    assert codes(ann) == [
        ["began"],
        ["condition_not_met"],
        ["too_early"],
        ["held_property_differs"],
        ["step_reached"],
        ["window_closed"],
    ]
    assert "would be step 3, but the window closed 4 min earlier" in texts(ann)
    assert (ann["reached"], ann["text"]) == (
        [1, 2],
        "step 2 of 3: the window of 1 h closed after step 2",
    )
    assert codes(await traced(service, "dan")) == [["began"], ["condition_not_met"]]
    ben = await traced(service, "ben%2F1")
    assert ben["person"] == "ben/1"
    assert codes(ben) == [
        ["began"],
        ["no_effect"],
        ["already_reached", "restarted"],
        ["step_reached", "step_reached"],
        ["excluded", "excluded"],
    ]
    assert "excluded by refund: the chain ends after step 2" in texts(ben)
    cem = await traced(service, "cem")
    assert [event["late_by_ms"] for event in cem["events"]] == [2 * HOUR, MINUTE, 0]
    assert codes(cem) == [
        ["arrived_too_late", "began"],
        ["began"],
        ["window_closed", "step_reached"],
    ]
    nobody = await traced(service, "nobody")
    assert (nobody["events"], nobody["reached"]) == ([], [])
    assert nobody["text"] == "has not begun: there is no event of step 1 (home)"


async def test_pages_have_all_events_once_and_the_chains_that_began_before(
    service: httpx.AsyncClient, recorded: Recorded
) -> None:
    names = ["home", "cart", "purchase", "home", "cart", "home", "purchase"]
    events = [
        Event("ann", name, NOON + place * MINUTE, {"price": 20}) for place, name in enumerate(names)
    ]
    recorded.write(events)
    whole = await traced(service, "ann")
    found = []
    after: dict[str, str] = {}
    for _ in range(4):
        page = await traced(service, "ann", limit=2, **after)
        found += page["events"]
        after = {"after": page["next"]}
    assert page["next"] is None
    assert [event["offset"] for event in found] == [event["offset"] for event in whole["events"]]
    assert found[2]["effects"] == whole["events"][2]["effects"]
    early = await traced(service, "ann", as_of="0:2")
    assert (len(early["events"]), early["positions"]) == (2, {"0": 2})
    answer = await service.get(f"{API}/funnels/buy/persons/ann/trace", params={"after": "x"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "after")
    answer = await service.get(f"{API}/funnels/none/persons/ann/trace")
    assert answer.status_code == 404


@hypothesis.settings(max_examples=25)
@given(case=st.one_of(law.plain(), law.with_options()))
def test_a_trace_of_stored_events_reaches_what_the_definition_says(
    warehouse: Warehouse, case: Case
) -> None:
    project = uuid.uuid4().hex
    definition = definition_of("funnel", {"funnel": case.body}, project)
    assert isinstance(definition, FunnelDefinition)
    warehouse.write(Row(project, one.person, one.event, one.at, one.text) for one in case.events)
    database = warehouse.settings.clickhouse_database
    for person in {event.person for event in case.events}:
        own = [event for event in case.events if event.person == person]
        statement = line_statement(database, definition, person, FIRST, None, 1_000)
        line = read_line(definition, warehouse.ask(statement))
        assert len(line) == len(own)
        found = chains(definition.funnel, [one.happening for one in line], NOON)
        reached = {number for chain in found for number in chain.reached}
        counted = oracle.figures(case.body, own).reached
        assert reached == {step for step, count in enumerate(counted, 1) if count}, json.dumps(
            dict(case.body)
        )
