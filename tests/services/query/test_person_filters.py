"""Filters on who the person of an event is are refused in definitions, with the reason."""

from typing import Any

import httpx
import pytest

from schemas.operators.segment import Performed, Rule
from services.query.operators.person_filters import find_person_filters, refuse_person_filters

API = "/api/projects/shop"
PRO = {"property": "plan", "value": "pro"}
SEGMENTS: dict[str, Any] = {
    "pros": {"person": [PRO]},
    "buyers": {"and": [{"person": [PRO]}, {"performed": {"event": "buy"}}]},
    "lapsed": {"not": {"last_seen": {"within_s": 60}}},
    "both": {"or": [{"segment": "pros"}, {"segment": "lapsed"}]},
}


def definition(kind: str, where: list[Any]) -> dict[str, Any]:
    selected = {"event": "a", "where": where}
    bodies: dict[str, dict[str, Any]] = {
        "funnels": {"steps": [{"event": "b"}, selected]},
        "cohorts": {"start": selected},
        "metrics": {"measure": "events", "filter": selected},
    }
    return bodies[kind]


PATHS = {"funnels": "steps[1].where", "cohorts": "start.where", "metrics": "filter.where"}


@pytest.mark.parametrize("kind", PATHS)
async def test_a_definition_that_asks_who_the_person_is_is_refused_with_the_reason(
    query: httpx.AsyncClient, kind: str
) -> None:
    for name, rule in SEGMENTS.items():
        made = await query.post(f"{API}/segments", json={"id": name, "rule": rule})
        assert made.status_code == 201, made.text

    async def refusal(where: list[Any]) -> tuple[str, str]:
        answer = await query.post(f"{API}/{kind}", json=definition(kind, where))
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        return error["field"].removeprefix(PATHS[kind]), error["message"]

    expected = {
        "pros": "`person` (rule.person)",
        "buyers": "`performed` (rule.and[1].performed)",
        "lapsed": "`last_seen` (rule.not.last_seen)",
        "both": "`last_seen` (rule.or[1].not.last_seen)",
    }
    for name, asked in expected.items():
        field, message = await refusal([PRO, {"segment": name}])
        assert field == "[1].segment"
        assert f"segment {name} asks for {asked}" in message
    field, message = await refusal([{"or": [{"not": {"person": PRO, "at": "event"}}]}])
    assert field == "[0].or[0].not.person"
    assert "late" in message
    field, message = await refusal([{"segment": "nobody"}])
    assert "there is no segment 'nobody'" in message


def test_rules_of_segments_are_no_filters_on_events() -> None:
    assert not list(find_person_filters({"rule": SEGMENTS["both"]}))
    where = {"rule": {"performed": {"where": [{"segment": "pros"}]}}}
    assert [one.path for one in find_person_filters(where)] == ["rule.performed.where[0].segment"]


def test_what_is_no_definition_is_left_to_the_decoding() -> None:
    deep = f'{{"where": [{"[" * 400}{{"segment": 1}}{"]" * 400}]}}'
    for body in (deep, "[" * 100_000, "7", "{", '{"where": [7]}'):
        refuse_person_filters(body.encode(), lambda _: Rule(performed=Performed()))
