"""What the stream and ClickHouse say of the same properties."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.conditions import compile_conditions, parse_properties
from schemas.definitions import Condition, Step
from services.query.condition_sql import Binder, check_names, condition_sql
from tests.warehouse import Event, Warehouse

NAMES = [
    *("a", "b c", "a.b", "a%2Eb", ".", "a.", "%2E", "é", "$set", "null", "Int64"),
    *('"', "'", "`", "a`b", "\\", "a\\nb", "\n", "\t", "^a", "a.:`Int64`", "a[]", "{p0:String}"),
    *("; DROP TABLE events", "' OR 1 = 1 --", "` IS NULL OR 1 --", "%(p0)s", "{}", "$$", "?"),
]
names = st.sampled_from(NAMES) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -(2**63) - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 0.1, 1.0, 2.0**53, 2.0**63, 2.0**64, 1e300, -5e-324]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["", "1", "true", "2026-11-22", "2026-11-22 10:00:00", "2026-11-22T10:00:00Z", "0" * 20]
)
scalars = st.booleans() | numbers | texts
values = (
    st.none()
    | scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(names, scalars, max_size=2)
)


@st.composite
def conditions(draw: st.DrawFn, properties: list[str], pool: list[Any]) -> Condition:
    some = scalars if not pool else st.sampled_from(pool) | scalars
    name = draw(st.sampled_from(properties) if properties else names)
    match draw(st.sampled_from(["equals", "in", "contains", "order", "set"])):
        case "equals":
            return Condition(name, draw(st.sampled_from(["equals", "not_equals"])), draw(some))
        case "in":
            listed = draw(st.lists(some, min_size=1, max_size=4))
            return Condition(name, draw(st.sampled_from(["in", "not_in"])), listed)
        case "contains":
            part = draw(st.sampled_from([v for v in [*pool, ""] if isinstance(v, str)]) | texts)
            return Condition(name, "contains", part[: draw(st.integers(0, 3))])
        case "order":
            like = [v for v in pool if isinstance(v, int | float) and not isinstance(v, bool)]
            bound = draw(st.sampled_from(like) | numbers if like else numbers)
            return Condition(name, draw(st.sampled_from(["gt", "gte", "lt", "lte"])), bound)
    return Condition(name, draw(st.sampled_from(["is_set", "is_not_set"])))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[Condition]]:
    documents = draw(st.lists(st.dictionaries(names, values, max_size=3), min_size=1, max_size=8))
    keys = sorted({key for document in documents for key in document if key})
    pool = [
        value
        for document in documents
        for value in document.values()
        if isinstance(value, bool | int | float | str)
    ]
    asked = draw(st.lists(conditions(keys, pool), min_size=1, max_size=8))
    ascii_only = draw(st.booleans())
    return [json.dumps(document, ensure_ascii=ascii_only) for document in documents], [
        condition for condition in asked if not condition.property.startswith("^`")
    ]


def in_clickhouse(
    warehouse: Warehouse, documents: list[str], asked: list[Condition]
) -> list[list[bool]]:
    project = uuid.uuid4().hex
    warehouse.write(
        Event(project, "ada", "seen", 1_000 + i, doc) for i, doc in enumerate(documents)
    )
    bind = Binder()
    tests = ", ".join(condition_sql(condition, bind) for condition in asked)
    found = warehouse.client.query(
        f"SELECT [{tests}] FROM {warehouse.settings.clickhouse_database}.events "
        f"WHERE project_id = {bind(project, 'String')} ORDER BY timestamp",
        parameters=bind.parameters,
    )
    return [[bool(holds) for holds in row[0]] for row in found.result_rows]


def on_the_stream(documents: list[str], asked: list[Condition]) -> list[list[bool]]:
    tests = [compile_conditions([condition]) for condition in asked]
    return [[test(parse_properties(document)) for test in tests] for document in documents]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(cases())
@example(([json.dumps({name: 7}) for name in NAMES], [Condition(name, value=7) for name in NAMES]))
@example(
    (['{"a": {"b": 1}}', '{"a.b": 1}'], [Condition("a.b", "is_set"), Condition("a", "is_set")])
)
@example((["[1]", "1e400", "not json", '{"a": 1e400}'], [Condition("a", "is_not_set")]))
@example((['{"a": 18446744073709551616}'], [Condition("a", value="18446744073709551616")]))
@example((['{"a": -0.0}', '{"a": 0}'], [Condition("a", value=0), Condition("a", "lt", 0)]))
@example(
    (['{"a": 9007199254740993}'], [Condition("a", "gt", 2.0**53), Condition("a", value=2.0**53)])
)
def test_the_stream_and_clickhouse_agree(
    warehouse: Warehouse, case: tuple[list[str], list[Condition]]
) -> None:
    documents, asked = case
    assert on_the_stream(documents, asked) == in_clickhouse(warehouse, documents, asked)


@pytest.mark.parametrize(
    ("condition", "properties", "holds"),
    [
        (Condition("a", value=1), {"a": 1.0}, True),
        (Condition("a", value=1), {"a": True}, False),
        (Condition("a", value=1), {"a": "1"}, False),
        (Condition("a", value=True), {"a": 1}, False),
        (Condition("a", "in", [1, "x"]), {"a": "x"}, True),
        (Condition("a", "not_equals", 1), {}, True),
        (Condition("a", "not_in", [1]), {"a": None}, True),
        (Condition("a", "equals", 1), {}, False),
        (Condition("a", "contains", "b"), {"a": "abc"}, True),
        (Condition("a", "contains", ""), {"a": 1}, False),
        (Condition("a", "gt", 1), {"a": "2"}, False),
        (Condition("a", "gte", 1), {"a": True}, False),
        (Condition("a", "lt", 2), {}, False),
        (Condition("a", "is_set"), {"a": []}, True),
        (Condition("a", "is_set"), {"a": None}, False),
        (Condition("a", "is_set"), {"a": {"b": 1}}, False),
        (Condition("a", "is_not_set"), {}, True),
        (Condition("a.b", "is_set"), {"a": {"b": 1}}, False),
        (Condition("a.b", "is_set"), {"a.b": 1}, True),
    ],
)
def test_a_condition_holds_by_the_type_of_the_value(
    condition: Condition, properties: dict[str, Any], holds: bool
) -> None:
    assert compile_conditions([condition])(properties) is holds


def test_all_conditions_must_hold_and_none_always_does() -> None:
    both = compile_conditions([Condition("a", value=1), Condition("b", value=2)])
    assert both({"a": 1, "b": 2})
    assert not both({"a": 1, "b": 3})
    assert compile_conditions([])({})


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"a": 1e400}', '"\ud800"', "[" * 5_000])
def test_properties_that_are_no_object_are_none(text: str) -> None:
    assert parse_properties(text) == {}


def test_the_one_kind_of_name_that_cannot_be_asked_for_is_refused() -> None:
    from schemas.errors import InvalidRequest

    step = Step("a", where=(Condition("^`a`", value=1),))
    with pytest.raises(InvalidRequest, match=r"steps\[1\].where\[0\].property"):
        check_names(step.where, "steps[1].where")
