"""Which rules are accepted, and what is said of the others."""

import json
from typing import Any

import msgspec
import pytest

from schemas.conditions import Condition
from schemas.errors import InvalidRequest
from schemas.operators.segment import SegmentDefinition, decode, decode_segment, encode
from schemas.rules import MAX_DEPTH, MAX_FILTERS, MAX_LEAVES, Rule, references, resolve

DID = {"performed": {"event": "a"}}
STEPS = [{"event": "a"}, {"event": "b", "where": [{"property": "n", "value": 1}]}]


def body(rule: Any) -> bytes:
    return json.dumps({"rule": rule}).encode()


def deep(levels: int) -> Any:
    rule: Any = DID
    for _ in range(levels - 1):
        rule = {"not": rule}
    return rule


@pytest.mark.parametrize(
    "rule",
    [
        {"person": [{"property": "plan", "value": "pro"}]},
        {"performed": {}},
        {"performed": {"event": "a", "at_most": 0, "within_s": 60}},
        {"performed": {"where": [{"property": "n", "op": "gt", "value": 1}], "exactly": 100}},
        {"first_seen": {"before": "2026-11-22"}},
        {"last_seen": {"event": "a", "not_within_s": 86_400}},
        {"sequence": {"steps": STEPS, "window_s": 60}},
        {"and": [DID, {"or": [{"segment": "other"}, {"not": DID}]}]},
        deep(MAX_DEPTH),
        {"or": [DID] * MAX_LEAVES},
    ],
)
def test_a_rule_is_kept_as_it_was_written(rule: Any) -> None:
    kept = decode_segment(body(rule))
    assert json.loads(msgspec.json.encode(kept.rule)) == rule


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ({}, "rule", "one of `and`"),
        (DID | {"segment": "s"}, "rule", "one of `and`"),
        ({"and": [DID, {}]}, "rule.and[1]", "one of `and`"),
        ({"and": []}, "rule.and", "length >= 1"),
        ({"not": {"or": [DID | {"not": DID}]}}, "rule.not.or[0]", "one of `and`"),
        ({"xor": [DID]}, "rule", "unknown field `xor`"),
        (deep(MAX_DEPTH + 1), "rule" + MAX_DEPTH * ".not", f"{MAX_DEPTH} levels"),
        ({"or": [{"and": [DID] * 17}] * 2}, "rule", f"{MAX_LEAVES} conditions"),
        (
            {"and": [{"performed": {"event": f"e{n}"}} for n in range(MAX_FILTERS + 1)]},
            "rule",
            f"{MAX_FILTERS} different events",
        ),
        ({"or": [{"performed": {"exactly": 90, "within_s": 1}}] * 3}, "rule", "256 times"),
        ({"person": []}, "rule.person", "length >= 1"),
        ({"person": [{"property": "a", "op": "gt", "value": "1"}]}, "rule.person[0].value", "a nu"),
        ({"performed": {"at_least": 0}}, "rule.performed.at_least", ">= 1"),
        ({"performed": {"at_most": 101}}, "rule.performed.at_most", "<= 100"),
        ({"performed": {"at_most": 1, "exactly": 1}}, "rule.performed", "one of `at_least`"),
        ({"performed": {"within_s": 0}}, "rule.performed.within_s", ">= 1"),
        ({"performed": {"where": [{}]}}, "rule.performed.where[0]", "`property`"),
        ({"last_seen": {}}, "rule.last_seen", "one of `before`"),
        ({"last_seen": {"before": "2026", "within_s": 1}}, "rule.last_seen", "one of `before`"),
        ({"not": {"first_seen": {"after": "soon"}}}, "rule.not.first_seen.after", "2026-11-22"),
        ({"sequence": {"steps": STEPS[:1]}}, "rule.sequence.steps", "length >= 2"),
        (
            {"sequence": {"steps": [STEPS[0], {"where": [{}]}]}},
            "rule.sequence.steps[1].where[0]",
            "`property`",
        ),
        ({"segment": "no id"}, "rule.segment", "matching regex"),
    ],
)
def test_what_is_not_accepted_is_named(rule: Any, field: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_segment(body(rule))
    assert caught.value.field == field
    assert said in str(caught.value)


def definition(written: Any, resolved: Any) -> SegmentDefinition:
    return SegmentDefinition(
        project_id="p",
        id="s",
        version=1,
        created_at=0,
        updated_at=0,
        segment=decode_segment(body(written)),
        rule=decode_segment(body(resolved)).rule,
    )


def test_a_definition_carries_its_rule_without_references() -> None:
    stored = definition({"not": {"segment": "other"}}, {"not": DID})
    assert decode(encode(stored)) == stored
    for bad in (definition({"segment": "other"}, {"segment": "other"}), None):
        with pytest.raises(msgspec.DecodeError):
            decode(encode(bad) if bad else b'{"rule": {}}')


def test_references_are_found_and_replaced_wherever_they_stand() -> None:
    rule = decode_segment(
        body({"or": [{"segment": "x"}, {"not": {"and": [DID, {"segment": "y"}]}}]})
    ).rule
    assert references(rule, "rule") == [
        ("x", "rule.or[0].segment"),
        ("y", "rule.or[1].not.and[1].segment"),
    ]
    rules = {name: Rule(person=(Condition("p", value=name),)) for name in "xy"}
    resolved = resolve(rule, rules.__getitem__)
    assert not references(resolved, "rule")
    assert (resolved.or_[0], resolved.or_[1].not_) == (
        rules["x"],
        Rule(and_=(decode_segment(body(DID)).rule, rules["y"])),
    )
