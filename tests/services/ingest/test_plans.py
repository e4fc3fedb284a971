"""Plans hold at the edge, for every event and as soon as they are written."""

import json
from typing import Any

import msgspec
import pytest

from schemas.definitions import definition_key
from schemas.errors import InvalidRequest
from schemas.plans import Checker, Mode, Plan, PlanDefinition, encode
from schemas.settings import Settings
from services.ingest.plans import PlanChange, Plans, Rule, conform, read_changes
from tests.kafka import Record, produce, read_all
from tests.services.ingest.conftest import Ingest, eventually, serving
from tests.services.ingest.test_check import checked
from tests.services.ingest.test_native import event

SCHEMA: dict[str, Any] = {
    "properties": {"amount": {"type": "number"}},
    "required": ["amount"],
}


def record(
    name: str = "buy", *, mode: Mode = "enforce", on: str = "purchase", schema: Any = SCHEMA
) -> Record:
    plan = Plan(event=on, schema=schema, mode=mode)
    definition = PlanDefinition(
        project_id="default", id=name, version=1, created_at=1, updated_at=1, plan=plan
    )
    return Record(encode(definition), definition.key)


def write(ingest: Ingest, *records: Record) -> None:
    topic = ingest.settings.topics.definitions.name
    produce(ingest.settings.bootstrap, topic, records)


def purchase(**properties: Any) -> dict[str, Any]:
    return event(event="purchase", properties=properties)


def verdicts(ingest: Ingest, *events: dict[str, Any]) -> list[str]:
    return [result["result"] for result in ingest.results(list(events))]


def test_a_plan_holds_when_it_is_written_and_for_its_event_alone(own: Ingest) -> None:
    assert verdicts(own, purchase()) == ["ok"]
    write(own, record())
    eventually(lambda: verdicts(own, purchase()) == ["drop"])

    bad, good, other = own.results(
        [purchase(amount="much"), purchase(amount=3), event(properties={"amount": "much"})]
    )
    assert bad["result"] == "drop"
    assert bad["field"] == "properties.amount"
    assert bad["details"] == (
        'properties.amount: the value is not of type "number" (tracking plan buy)'
    )
    assert (good["result"], other["result"]) == ("ok", "ok")
    assert bad["event_id"] not in {stored["event_id"] for stored in own.inbox()}


def test_a_plan_that_observes_takes_the_event_and_warns(own: Ingest) -> None:
    write(own, record(mode="observe"))
    eventually(lambda: verdicts(own, purchase()) == ["warning"])

    [result] = own.results([purchase(amount="much") | {"event_id": "mine"}])

    assert result["result"] == "warning"
    assert "event_id: 'mine' is not a UUID" in result["details"]
    assert "properties.amount: the value is not" in result["details"]
    assert result["event_id"] in {stored["event_id"] for stored in own.inbox()}


def test_a_plan_can_be_changed_and_deleted_while_events_flow(own: Ingest) -> None:
    write(own, record())
    eventually(lambda: verdicts(own, purchase()) == ["drop"])
    write(own, record(mode="observe"))
    eventually(lambda: verdicts(own, purchase()) == ["warning"])
    write(own, record(on="sale"))
    eventually(lambda: verdicts(own, purchase()) == ["ok"])
    assert verdicts(own, event(event="sale")) == ["drop"]
    write(own, Record(None, definition_key("default", "plan", "buy")))
    eventually(lambda: verdicts(own, event(event="sale")) == ["ok"])


def test_plans_that_stand_hold_for_the_first_event_and_strangers_do_no_harm(
    settings: Settings,
) -> None:
    produce(
        settings.bootstrap,
        settings.topics.definitions.name,
        [
            Record(b"{}", b"default/key/abc"),
            Record(b"{}", b"\xff"),
            Record(b"{}", b"default/plan/broken"),
            record("remote", on="other", schema={"$ref": "http://127.0.0.1:1/x"}),
            record(),
        ],
    )
    with serving(settings) as ingest:
        assert verdicts(ingest, purchase(), event(event="other")) == ["drop", "ok"]
        assert ingest.http.get("/readyz").status_code == 200


def rule(name: str, on: str = "purchase", mode: Mode = "enforce") -> Rule:
    return Rule(name, on, mode, Checker(SCHEMA))


def test_two_plans_for_one_event_are_decided_alike_in_any_order() -> None:
    one, other = Plans(), Plans()
    a, b = PlanChange("p", "a", rule("a")), PlanChange("p", "b", rule("b"))
    one.apply([a, b])
    other.apply([b])
    other.apply([a])
    assert one.rules["p"]["purchase"].id == other.rules["p"]["purchase"].id == "a"
    one.apply([PlanChange("p", "a", None)])
    assert one.rules["p"]["purchase"].id == "b"
    one.apply([PlanChange("p", "b", None), PlanChange("q", "none", None)])
    assert one.rules == {}


def test_properties_that_cannot_be_read_do_not_conform() -> None:
    row = checked(event="purchase", properties={"amount": 1})
    assert conform(row, rule("a")) is row
    deep = json.dumps({"amount": 1, "x": "\\ud800"}).replace("\\\\", "\\").encode()
    broken = msgspec.structs.replace(row, properties=deep)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        conform(broken, rule("a"))


def test_a_plan_that_replaces_one_and_cannot_be_used_ends_it(own: Ingest) -> None:
    write(own, record(), record(schema={"type": "text"}))
    topic = own.settings.topics.definitions.name
    changes = read_changes(read_all(own.settings.bootstrap, topic))
    plans = Plans()
    plans.apply(changes[:1])
    assert plans.rules["default"]["purchase"].id == "buy"
    plans.apply(changes)
    assert plans.rules == {}
