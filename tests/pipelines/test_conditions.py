"""The stream and ClickHouse evaluate conditions alike."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.matching.conditions import compile_conditions, parse_properties
from schemas.conditions import Condition, Op
from tests.twins import in_clickhouse, on_the_stream
from tests.warehouse import Warehouse

NAMES = [
    *("a", "b c", "a.b", "a%2Eb", ".", "a.", "%2E", "é", "$set", "null", "Int64"),
    *('"', "'", "`", "a`b", "\\", "a\\nb", "\n", "\t", "^a", "a.:`Int64`", "a[]", "{p0:String}"),
    *("; DROP TABLE events", "' OR 1 = 1 --", "` IS NULL OR 1 --", "%(p0)s", "{}", "$$", "?"),
]
PARTS: list[Op] = [
    *("contains", "not_contains", "starts_with", "not_starts_with", "ends_with", "not_ends_with"),
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
    match draw(st.sampled_from(["equals", "in", "part", "order", "set"])):
        case "equals":
            return Condition(name, draw(st.sampled_from(["equals", "not_equals"])), draw(some))
        case "in":
            listed = draw(st.lists(some, min_size=1, max_size=4))
            return Condition(name, draw(st.sampled_from(["in", "not_in"])), listed)
        case "part":
            whole = draw(st.sampled_from([v for v in [*pool, ""] if isinstance(v, str)]) | texts)
            part = whole[draw(st.integers(0, 3)) :][: draw(st.integers(0, 3))]
            return Condition(name, draw(st.sampled_from(PARTS)), part)
        case "order":
            like = [v for v in pool if isinstance(v, int | float) and not isinstance(v, bool)]
            bound = draw(st.sampled_from(like) | numbers if like else numbers)
            return Condition(name, draw(st.sampled_from(["gt", "gte", "lt", "lte"])), bound)
    return Condition(name, draw(st.sampled_from(["is_set", "is_not_set"])))


def nested(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        several.map(lambda parts: Condition(and_=parts)),
        several.map(lambda parts: Condition(or_=parts)),
        inner.map(lambda part: Condition(not_=part)),
    )


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
    askable = conditions(keys, pool).filter(lambda asked: not asked.property.startswith("^`"))
    trees = st.recursive(askable, nested, max_leaves=6)
    asked = draw(st.lists(trees, min_size=1, max_size=8))
    ascii_only = draw(st.booleans())
    return [json.dumps(document, ensure_ascii=ascii_only) for document in documents], asked


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
        (Condition("a", "not_contains", "b"), {"a": "abc"}, False),
        (Condition("a", "not_contains", "b"), {"a": 1}, True),
        (Condition("a", "not_contains", "b"), {}, True),
        (Condition("a", "starts_with", "ab"), {"a": "abc"}, True),
        (Condition("a", "starts_with", "B"), {"a": "bc"}, False),
        (Condition("a", "not_starts_with", "ab"), {"a": "cab"}, True),
        (Condition("a", "ends_with", "bc"), {"a": "abc"}, True),
        (Condition("a", "ends_with", "1"), {"a": 1}, False),
        (Condition("a", "not_ends_with", "bc"), {"a": "abc"}, False),
        (Condition("a", "matches", "^b"), {"a": "abc"}, False),
        (Condition("a", "matches", "b."), {"a": "ab\n"}, True),
        (Condition("a", "matches", "B"), {"a": "abc"}, False),
        (Condition("a", "matches", "(?i)B"), {"a": "abc"}, True),
        (Condition("a", "matches", "1"), {"a": 1}, False),
        (Condition("a", "matches", "^1[0-9]+$"), {"a": 2**64}, True),
        (Condition("a", "not_matches", "b"), {"a": 1}, True),
        (Condition("a", "not_matches", "b"), {"a": "b"}, False),
        (Condition("a", "before", "2026-11-22"), {"a": "2026-11-21T23:59:59.999Z"}, True),
        (Condition("a", "before", "2026-11-22"), {"a": "2026-11-22"}, False),
        (Condition("a", "after", "2026-11-22"), {"a": "2026-11-22"}, False),
        (Condition("a", "after", "2026-11-22"), {"a": "2026-11-22T00:00:00.001Z"}, True),
        (Condition("a", "after", "2026-11-22"), {"a": "2026-11-22T00:30:00+01:00"}, False),
        (Condition("a", "after", "2026-11-22"), {"a": "tomorrow"}, False),
        (Condition("a", "after", "2026-11-22"), {"a": 1_800_000_000_000}, False),
        (Condition("a", "after", "2026-11-22"), {}, False),
        (Condition(not_=Condition("a", value=1)), {}, True),
        (Condition(not_=Condition("a", value=1)), {"a": 1}, False),
        (Condition(not_=Condition("a", "not_equals", 1)), {}, False),
        (Condition(not_=Condition("a", "before", "2026-11-22")), {"a": "soon"}, True),
        (Condition(and_=(Condition("a", value=1), Condition("b", value=2))), {"a": 1}, False),
        (Condition(or_=(Condition("a", value=1), Condition("b", value=2))), {"b": 2}, True),
        (Condition(or_=(Condition("a", value=1), Condition("b", value=2))), {"b": 1}, False),
    ],
)
def test_a_condition_holds_by_the_type_of_the_value(
    condition: Condition, properties: dict[str, Any], holds: bool
) -> None:
    assert compile_conditions([condition])(properties) is holds


def test_all_conditions_must_hold_and_no_conditions_always_do() -> None:
    both = compile_conditions([Condition("a", value=1), Condition("b", value=2)])
    assert both({"a": 1, "b": 2})
    assert not both({"a": 1, "b": 3})
    assert compile_conditions([])({})


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"a": 1e400}', '"\ud800"', "[" * 5_000])
def test_properties_that_are_not_an_object_are_empty(text: str) -> None:
    assert parse_properties(text) == {}
