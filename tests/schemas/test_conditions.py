"""Which conditions are accepted, and what is said of the others."""

import json
from typing import Any

import msgspec
import pytest

from schemas.conditions import MAX_CONDITIONS, MAX_DEPTH, Condition
from schemas.errors import InvalidRequest
from schemas.operators.funnel import FunnelDefinition, decode, decode_funnel, encode
from schemas.patterns import MAX_PATTERN

LEAF = {"property": "a"}


def funnel(*where: Any) -> bytes:
    return json.dumps({"steps": [{"event": "a", "where": where}, {"event": "b"}]}).encode()


ACCEPTED = [
    {"property": "a", "value": 1},
    {"property": "a", "op": "not_starts_with", "value": "x"},
    {"property": "a", "op": "matches", "value": "^(?i)x+$"},
    {"property": "a", "op": "not_matches", "value": "x" * MAX_PATTERN},
    {"property": "a", "op": "before", "value": "2026-11-22"},
    {"property": "a", "op": "after", "value": "2026-11-22T10:00:00.5+01:00"},
    {"and": [LEAF | {"value": 1}, {"or": [LEAF | {"value": 2}, {"not": LEAF | {"value": 3}}]}]},
    {"or": [LEAF | {"value": 1}] * MAX_CONDITIONS},
]


@pytest.mark.parametrize("condition", ACCEPTED)
def test_a_condition_is_kept_as_it_was_written(condition: Any) -> None:
    kept = decode_funnel(funnel(condition))
    assert json.loads(msgspec.json.encode(kept.steps[0].where)) == [condition]
    definition = FunnelDefinition(
        project_id="p", id="f", version=1, created_at=0, updated_at=0, funnel=kept
    )
    assert decode(encode(definition)) == definition


def test_conditions_that_were_stored_without_an_op_go_on_decoding() -> None:
    kept = decode_funnel(funnel({"property": "a", "value": 1}, {"property": "b", "op": "is_set"}))
    assert kept.steps[0].where == (Condition("a", "equals", 1), Condition("b", "is_set"))


PATTERN, TIME = "regular expression", "2026-11-22T10:00:00.000Z"


@pytest.mark.parametrize(
    ("condition", "field", "said"),
    [
        ({}, "", "`property`, `and`, `or` and `not`"),
        (LEAF | {"and": [LEAF]}, "", "one of `property`"),
        ({"and": [LEAF], "or": [LEAF]}, "", "one of `property`"),
        ({"and": [LEAF], "value": 1}, "", "`property` only"),
        ({"not": LEAF | {"value": 1}, "op": "gt"}, "", "`property` only"),
        ({"and": []}, ".and", "length >= 1"),
        ({"or": [LEAF | {"value": 1}, {"not": {}}]}, ".or[1].not", "`property`"),
        ({"xor": [LEAF]}, "", "unknown field `xor`"),
        ({"or": [LEAF | {"op": "like"}]}, ".or[0].op", "like"),
        ({"or": [LEAF | {"value": 1}, LEAF]}, ".or[1].value", "one value"),
        ({"not": LEAF | {"op": "in", "value": 1}}, ".not.value", "list"),
        (LEAF | {"op": "is_not_set", "value": 1}, ".value", "no value"),
        (LEAF | {"op": "lt", "value": "1"}, ".value", "a number"),
        (LEAF | {"op": "not_contains", "value": 1}, ".value", "text"),
        (LEAF | {"op": "starts_with", "value": True}, ".value", "text"),
        (LEAF | {"op": "ends_with", "value": ["a"]}, ".value", "one value"),
        (LEAF | {"op": "matches", "value": 1}, ".value", PATTERN),
        (LEAF | {"op": "matches", "value": "(a"}, ".value", "missing ): (a"),
        (LEAF | {"op": "not_matches", "value": "*"}, ".value", "repetition"),
        (LEAF | {"op": "matches", "value": "(?=a)"}, ".value", "(?="),
        (LEAF | {"op": "matches", "value": r"(a)\1"}, ".value", r"\1"),
        (LEAF | {"op": "matches", "value": r"\pL{1,200}"}, ".value", "too large"),
        (LEAF | {"op": "matches", "value": "x" * (MAX_PATTERN + 1)}, ".value", f"{MAX_PATTERN}"),
        (LEAF | {"op": "before", "value": 1_800_000_000_000}, ".value", TIME),
        (LEAF | {"op": "after", "value": "2026-11-22 10:00"}, ".value", TIME),
        (LEAF | {"op": "after", "value": "2026-02-29"}, ".value", TIME),
    ],
)
def test_a_wrong_condition_is_refused_with_the_field_and_what_is_accepted(
    condition: Any, field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_funnel(funnel(LEAF | {"op": "is_set"}, condition))
    assert caught.value.field == f"steps[0].where[1]{field}"
    assert said in caught.value.reason


def test_conditions_nest_up_to_a_depth() -> None:
    condition: Any = {"not": {"and": [LEAF | {"value": 1}]}}
    for _ in range(MAX_DEPTH - 3):
        condition = {"or": [condition]}
    assert decode_funnel(funnel(condition)).steps[0].where
    with pytest.raises(InvalidRequest, match=f"at most {MAX_DEPTH} levels") as caught:
        decode_funnel(funnel({"not": condition}))
    assert (
        caught.value.field == "steps[0].where[0].not" + ".or[0]" * (MAX_DEPTH - 3) + ".not.and[0]"
    )


@pytest.mark.parametrize("levels", [50, 500, 20_000])
def test_conditions_that_are_nested_without_end_are_refused(levels: int) -> None:
    body = funnel("?").replace(b'"?"', b'{"not":' * levels + b"{}" + b"}" * levels)
    with pytest.raises(InvalidRequest):
        decode_funnel(body)


def test_a_step_compares_so_many_properties_and_no_more() -> None:
    compared = LEAF | {"value": 1}
    some = {"or": [compared] * (MAX_CONDITIONS - 1)}
    assert decode_funnel(funnel(compared, some)).steps[0].where
    with pytest.raises(InvalidRequest, match=f"at most {MAX_CONDITIONS} ") as caught:
        decode_funnel(funnel(compared, some, {"not": compared}))
    assert caught.value.field == "steps[0].where"


@pytest.mark.parametrize("value", [b"{}", b'{"property":"a","op":"matches","value":"("}'])
def test_a_record_with_a_condition_that_means_nothing_cannot_be_decoded(value: bytes) -> None:
    kept = decode_funnel(funnel(LEAF | {"value": 7}))
    record = encode(
        FunnelDefinition(project_id="p", id="f", version=1, created_at=0, updated_at=0, funnel=kept)
    )
    with pytest.raises(msgspec.DecodeError, match=r"steps\[0\].where\[0\]"):
        decode(record.replace(b'{"property":"a","value":7}', value))
