"""Plans over REST, on the real topic."""

from typing import Any

import httpx
import msgspec
import pytest

from schemas.definitions import definition_key
from schemas.plans import MAX_PLANS_PER_PROJECT, Plan, PlanDefinition, decode, encode
from schemas.settings import Settings
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS

PLANS = "/api/projects/shop/plans"
PLAN: dict[str, Any] = {
    "event": "purchase",
    "mode": "enforce",
    "schema": {"properties": {"amount": {"type": "number"}}, "required": ["amount"]},
}


async def test_a_plan_is_made_read_replaced_and_deleted(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    made = await query.put(f"{PLANS}/buy", json=PLAN)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert made.json() | PLAN | {"id": "buy", "version": 1} == made.json()
    assert (await query.get(f"{PLANS}/buy")).json() == made.json()
    assert (await query.get(PLANS)).json() == {"plans": [made.json()], "next": None}

    replaced = await query.put(f"{PLANS}/buy", json=PLAN | {"mode": "observe", "version": 1})
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    assert replaced.json()["created_at"] == made.json()["created_at"]

    assert (await query.delete(f"{PLANS}/buy")).status_code == 204
    assert (await query.get(f"{PLANS}/buy")).status_code == 404
    again = await query.put(f"{PLANS}/buy", json=PLAN)
    assert (again.status_code, again.headers["etag"]) == (201, '"3"')

    messages = read_all(settings.bootstrap, settings.topics.definitions.name)
    values = [m.value() for m in messages if m.key() == b"shop/plan/buy"]
    assert values[2] is None
    versions = [decode(value).version for value in values if value is not None]
    assert versions == [1, 2, 3]


async def test_an_event_has_one_plan_in_a_project(query: httpx.AsyncClient) -> None:
    await query.put(f"{PLANS}/buy", json=PLAN)
    other = await query.put(f"{PLANS}/other", json=PLAN)
    assert other.status_code == 409
    assert "the plan of the event 'purchase' is buy" in other.json()["error"]["message"]
    assert (await query.put("/api/projects/b/plans/other", json=PLAN)).status_code == 201
    assert (await query.put(f"{PLANS}/buy", json=PLAN | {"event": "sale"})).status_code == 200
    assert (await query.put(f"{PLANS}/other", json=PLAN)).status_code == 201


async def test_a_change_may_be_meant_for_one_version_only(query: httpx.AsyncClient) -> None:
    absent = await query.put(f"{PLANS}/buy", json=PLAN, headers={"If-Match": '"1"'})
    assert absent.status_code == 404
    await query.put(f"{PLANS}/buy", json=PLAN)
    stale = await query.put(f"{PLANS}/buy", json=PLAN, headers={"If-Match": '"2"'})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "conflict")
    assert (await query.delete(f"{PLANS}/buy", headers={"If-Match": '"2"'})).status_code == 409
    right = await query.put(f"{PLANS}/buy", json=PLAN, headers={"If-Match": '"1"'})
    assert right.status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": {"properties": {"a": {"type": "text"}}}}, "schema.properties.a.type"),
        ({"schema": {"$ref": "http://a/b"}}, "schema.$ref"),
        ({"mode": "drop"}, "mode"),
        ({"event": ""}, "event"),
        ({"id": "other"}, "id"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_with_its_field(
    query: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    answer = await query.put(f"{PLANS}/buy", json=PLAN | changes)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field
    assert (await query.get(f"{PLANS}/buy")).status_code == 404


async def test_a_project_has_so_many_plans_and_no_more(settings: Settings) -> None:
    def definition(number: int) -> PlanDefinition:
        plan = Plan(event=f"e{number}", schema={})
        return PlanDefinition(
            project_id="shop", id=f"p{number}", version=1, created_at=1, updated_at=1, plan=plan
        )

    plans = [definition(number) for number in range(MAX_PLANS_PER_PROJECT)]
    records = [Record(encode(plan), plan.key) for plan in plans]
    produce(settings.bootstrap, settings.topics.definitions.name, records)
    async with serve(settings) as query:
        await ready(query)
        answer = await query.put(f"{PLANS}/buy", json=PLAN)
        assert answer.status_code == 409
        assert str(MAX_PLANS_PER_PROJECT) in answer.json()["error"]["message"]
        assert (await query.put(f"{PLANS}/p1", json=PLAN)).status_code == 200
        page = (await query.get(PLANS, params={"limit": 2})).json()
        assert [plan["id"] for plan in page["plans"]] == ["p0", "p1"]
        assert page["next"] == "p1"


async def test_kinds_do_not_meddle_and_strangers_are_passed_over(settings: Settings) -> None:
    strangers = [
        Record(b"{}", b"shop/key/abc"),
        Record(b"{}", b"no key of ours"),
        Record(b"not json", definition_key("shop", "plan", "broken")),
    ]
    produce(settings.bootstrap, settings.topics.definitions.name, strangers)
    async with serve(settings) as query:
        await ready(query)
        assert (await query.post(FUNNELS, json=BUY | {"id": "buy"})).status_code == 201
        assert (await query.put(f"{PLANS}/buy", json=PLAN)).status_code == 201
        await query.delete(f"{FUNNELS}/buy")
        assert (await query.get(f"{FUNNELS}/buy")).status_code == 404
        assert (await query.get(f"{PLANS}/buy")).json()["version"] == 1
        shown = (await query.get(PLANS)).json()
        assert [plan["id"] for plan in shown["plans"]] == ["buy"]
        assert msgspec.json.encode(shown)
