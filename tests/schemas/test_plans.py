"""What a plan's schema may be, and what it says of properties; decided without a broker."""

import json
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from schemas.plans import MAX_RULES, MAX_SCHEMA_BYTES, Checker, PlanDefinition, decode_plan
from schemas.plans import decode as decode_definition
from schemas.plans import encode as encode_definition
from tests.schemas.examples import patient

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "sku": {"pattern": "^[A-Z]{3}-[0-9]+$"},
        "mail": {"format": "email"},
    },
    "required": ["amount"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "required": ["name"]}},
}


def body(**fields: Any) -> bytes:
    return json.dumps({"event": "buy", "schema": {}} | fields).encode()


@pytest.mark.parametrize(
    ("properties", "field", "says"),
    [
        ({"amount": "x"}, "properties.amount", 'the value is not of type "number"'),
        ({"amount": -1}, "properties.amount", "less than the minimum of 0"),
        ({}, "properties.amount", "is missing; it is required"),
        ({"amount": 1, "items": [{"name": 1}, {}]}, "properties.items[1].name", "is missing"),
        ({"amount": 1, "sku": "abc"}, "properties.sku", "does not match"),
        ({"amount": 1, "mail": "nobody"}, "properties.mail", 'not a "email"'),
        ({"amount": 1, "other": 1}, "properties", "'other' was unexpected"),
    ],
)
def test_the_first_fault_names_its_path_and_the_reason_but_no_value(
    properties: dict[str, Any], field: str, says: str
) -> None:
    fault = Checker(SCHEMA).fault(properties)
    assert fault is not None
    assert fault.field == field
    assert says in fault.reason


def test_what_is_as_it_has_to_be_has_no_fault() -> None:
    good = {"amount": 1.5, "items": [{"name": "a"}], "sku": "ABC-1", "mail": "a@b.example"}
    assert Checker(SCHEMA).fault(good) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@patient
@given(
    st.dictionaries(st.sampled_from(["amount", "items", "sku", "x"]), VALUES)
    | st.fixed_dictionaries({"amount": VALUES, "sku": st.just("ABC-1")})
)
def test_it_finds_a_fault_where_python_s_own_validator_does(properties: dict[str, Any]) -> None:
    oracle = jsonschema.Draft202012Validator(SCHEMA)
    assert (Checker(SCHEMA).fault(properties) is None) == oracle.is_valid(properties)


@pytest.mark.parametrize(
    ("schema", "field", "says"),
    [
        ({"type": "text"}, "schema.type", "not valid under"),
        ({"properties": {"a": {"minimum": "1"}}}, "schema.properties.a.minimum", "not of type"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "schema.properties.a.pattern", "linear"),
        ({"pattern": r"(a)\1"}, "schema.pattern", "linear"),
        ({"pattern": "((a{1,1000}){1,1000}){1,1000}"}, "schema.pattern", "linear"),
        ({"$ref": "http://127.0.0.1:1/x.json"}, "schema.$ref", "a place in this schema"),
        ({"$ref": "file:///etc/passwd"}, "schema.$ref", "a place in this schema"),
        ({"$ref": "#/$defs/none"}, "schema.$ref", "must lead to a place"),
        ({"items": {"$ref": "#"}}, "schema.items.$ref", "not lead back to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "schema.$defs.a.$ref", "not lead back"),
        ({"dependencies": {"a": {"$ref": "#"}}}, "schema.dependencies.a.$ref", "not lead back"),
        ({"$dynamicRef": "#a"}, "schema.$dynamicRef", "must not be used"),
        ({"$id": "http://a/b"}, "schema.$id", "must not be used"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema.$schema", "2020-12"),
        ({"$schema": 7}, "schema.$schema", "2020-12"),
        ({"format": "telephone"}, "schema.format", "telephone"),
        ({"enum": ["x" * MAX_SCHEMA_BYTES]}, "schema", str(MAX_SCHEMA_BYTES)),
        ({"allOf": [{}] * MAX_RULES}, "schema", str(MAX_RULES)),
    ],
)
def test_a_schema_that_is_refused_names_the_field(
    schema: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_plan(body(schema=schema))
    assert caught.value.field == field
    assert says in str(caught.value)


def test_rules_that_double_with_each_reference_are_counted_and_refused() -> None:
    rules: dict[str, Any] = {"d0": {"type": "object"}}
    for number in range(1, 40):
        reference = {"$ref": f"#/$defs/d{number - 1}"}
        rules[f"d{number}"] = {"allOf": [reference, reference]}
    start = time.process_time()
    with pytest.raises(InvalidRequest, match="once its references are followed"):
        Checker({"$ref": "#/$defs/d39", "$defs": rules})
    assert time.process_time() - start < 5


def test_what_only_looks_like_a_reference_is_data() -> None:
    data = {"$ref": "http://nowhere/"}
    schema = {"const": data, "properties": {"$ref": {"type": "string"}}, "examples": [data]}
    checker = Checker(schema)
    assert checker.fault(data) is None
    assert checker.fault({"$ref": 1}) is not None


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"not": schema}
    with pytest.raises(InvalidRequest, match="levels deep"):
        Checker(schema)
    with pytest.raises(InvalidRequest):
        decode_plan(b'{"event":"e","schema":' + b'{"a":' * 100_000)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"event": ""}, "event"),
        ({"event": "x" * 201}, "event"),
        ({"mode": "warn"}, "mode"),
        ({"schema": True}, "schema"),
        ({"other": 1}, ""),
    ],
)
def test_a_plan_that_is_none_names_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_plan(body(**fields))
    assert caught.value.field == field


def test_a_plan_observes_unless_it_says_otherwise_and_stands_as_it_was_sent() -> None:
    plan = decode_plan(body(schema=SCHEMA, event="a/b ü"))
    assert plan.mode == "observe"
    definition = PlanDefinition(
        project_id="shop", id="buy", version=2, created_at=1, updated_at=2, plan=plan
    )
    assert definition.key == b"shop/plan/buy"
    assert decode_definition(encode_definition(definition)) == definition
