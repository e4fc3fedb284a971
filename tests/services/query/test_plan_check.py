"""The dry run of a plan: how many past events would be dropped, why, and what they share."""

import json
from typing import Any

import httpx
import pytest

from schemas.plans import Checker
from services.query.clickhouse.client import Store
from services.query.clickhouse.queries import EventStore
from services.query.log.event_log import EventLog
from services.query.projects.plan_check import PlanCheck, check_events, judge
from tests.warehouse import Event, Warehouse

CHECK = "/api/projects/shop/plan-check"
SCHEMA = {"properties": {"amount": {"type": "number"}}, "required": ["amount"]}


def texts(count: int, wrong: int) -> list[str]:
    """Purchases. The last ones have no amount and come from another version of the app."""
    right = {"app_version": "3.1", "country": "pt"}
    return [json.dumps({**right, "amount": n}) for n in range(count - wrong)] + [
        json.dumps({"app_version": "2.9", "country": "pt", "context": {"os": "ios"}})
        for _ in range(wrong)
    ]


def test_violations_are_counted_by_rule_with_what_they_have_in_common() -> None:
    violating, faults, traits = judge(Checker(SCHEMA), texts(1_000, 31))
    assert violating == 31
    assert [(one.field, one.events) for one in faults] == [("properties.amount", 31)]
    assert "missing" in faults[0].message
    shared = [(one.property, one.value, one.share, one.others) for one in traits]
    assert shared == [
        ("app_version", "2.9", 1.0, 0.0),
        ("context.os", "ios", 1.0, 0.0),
    ]


def test_what_all_events_have_in_common_is_nothing_that_violations_share() -> None:
    assert judge(Checker(SCHEMA), texts(10, 10))[2] == []
    assert judge(Checker(SCHEMA), texts(10, 1))[2] == []
    assert judge(Checker(SCHEMA), texts(10, 0)) == (0, [], [])


@pytest.mark.parametrize("days", [1, 30])
async def test_the_events_of_the_last_days_are_checked_and_no_others(
    warehouse: Warehouse, days: int
) -> None:
    now, project = 1_800_000_000_000, f"shop-{days}"
    rows = [
        Event(project, "ann", "purchase", now - 3_600_000, text) for text in texts(100, wrong=3)
    ]
    rows += [
        Event(project, "ann", "purchase", now - 10 * 86_400_000, '{"amount": "1"}'),
        Event(project, "ann", "view", now - 1, "{}"),
        Event(f"{project}-other", "ann", "purchase", now - 1, "{}"),
    ]
    offsets = warehouse.write(rows)
    store = Store(warehouse.settings)
    events = EventStore(store, warehouse.settings.clickhouse_database, EventLog(warehouse.settings))
    asked = PlanCheck("purchase", SCHEMA, days)
    found = await check_events(events, project, {0: offsets[-1] + 1}, asked, Checker(SCHEMA), now)
    await store.close()
    old = days > 10
    assert (found.events, found.checked, found.violating) == (100 + old, 100 + old, 3 + old)
    assert found.share == (3 + old) / (100 + old)
    messages = {one.message for one in found.faults}
    assert any("missing" in one for one in messages)
    assert len(messages) == 1 + old


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "a"}, ""),
        ({"event": "", "schema": {}}, "event"),
        ({"event": "a", "schema": {"type": "texts"}}, "schema.type"),
        ({"event": "a", "schema": {}, "days": 0}, "days"),
        ({"event": "a", "schema": {}, "days": 367}, "days"),
    ],
)
async def test_a_plan_that_cannot_be_checked_is_refused_with_its_field(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await query.post(CHECK, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field
