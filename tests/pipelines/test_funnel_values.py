"""Counts by value: of a limited number of values, and the same after they were published."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.breakdown import MAX_TEXT_BYTES, MAX_VALUES, ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.matching.value_hash import fingerprint
from pipelines.operators.cohort.aggregates import CohortAggregates
from pipelines.operators.cohort.columns import CHANGE as COHORT_CHANGE
from pipelines.operators.funnel.attempt_aggregates import AttemptAggregates
from pipelines.operators.funnel.columns import CHANGE, VALUE
from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import history, load
from schemas.value_tokens import to_json, token, token_of_json, whole_token


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (2**64 - 1, "18446744073709551615"),
        (1_234_567_890_123_456_789, "1234567890123456789"),
        (-1_234_567_890_123_456_789, "-1234567890123456789"),
        (2.0**64, "1.8446744073709552e+19"),
        ("é" * 200, f'"{"é" * 200}"'),
        ("é" * 201, f'"{"é" * 200}…af13244a3bae1f49"'),
        ("1", '"1"'),
        ("", '""'),
        ('é"', '"é\\""'),
        ([1], "null"),
    ],
)
def test_a_value_is_written_as_json_and_distinguished_from_others(value: Any, text: str) -> None:
    assert to_json(token(value)) == text
    assert token_of_json(text) == token(value)


def test_numbers_beyond_all_doubles_are_values_like_others() -> None:
    """JSON can write them, and anybody can send them."""
    large = 10**400
    values: list[Any] = [large, -large, [large], [large, 1.5], [1.5, -large], [[large, 0.5]]]
    assert len(set(map(whole_token, values))) == len(values)
    assert token(large) == token(float("inf"))
    for beyond in (2**64, 2**64 + 1, 10**30 + 1, -(2**63) - 1):
        assert token(beyond) == whole_token(beyond) == token(float(beyond))
    assert all(fingerprint([value]) == fingerprint([value]) for value in values)


def test_values_that_differ_have_other_fingerprints_in_other_places_too() -> None:
    values: list[list[Any]] = [[None], [""], [0], ["0"], [False], ["t"], [True], [1, 2], [2, 1], []]
    assert len(set(map(fingerprint, values))) == len(values)
    assert fingerprint(["x" * 200 + "y"]) != fingerprint(["x" * 200 + "z"])
    assert fingerprint([1_234_567_890_123_456_789]) != fingerprint([1_234_567_890_123_456_790])


def test_a_text_that_looks_like_one_that_was_shown_is_another() -> None:
    text = "x" * 300
    shown = json.loads(to_json(token(text)))
    assert token(shown) != token(text)
    assert token_of_json(to_json(token(shown))) == token(shown)


EXACT = 2**53


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        (1_234_567_890_123_456_789, 1_234_567_890_123_456_789, 1_234_567_890_123_456_790),
        (EXACT, float(EXACT), EXACT + 1),
        (2**64 - 1, 2**64 - 1, float(2**64)),
        (1, 1.0, True),
        (0, -0.0, False),
        ("x" * 300, "x" * 300, "x" * 299 + "y"),
        ("1", "1", 1),
        ([1], [1.0], [2]),
        ([], [], None),
        ([[1], ["a"]], [[1], ["a"]], [[1], ["b"]]),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1, "c": None}], [{"a": 1}]),
        ({"a": 1}, None, ""),
    ],
)
def test_values_are_compared_as_a_whole(value: Any, same: Any, other: Any) -> None:
    assert whole_token(value) == whole_token(same) != whole_token(other)


def test_a_list_that_is_nested_too_deeply_has_a_token() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert whole_token(nested) == "a"


def entered(*values: Any) -> ValuedChanges:
    """A person of each of the values has reached the first step."""
    records = np.zeros(len(values), CHANGE)
    records["before"], records["day"], records["scope"] = NONE, TOTAL, VALUE
    records["value"] = [fingerprint([value]) for value in values]
    records["entries"] = 2
    return ValuedChanges(records, {fingerprint([value]): token(value) for value in values})


def test_a_limited_number_of_values_is_tracked() -> None:
    aggregates = AttemptAggregates(2, entries=True)
    aggregates.apply(entered(*range(MAX_VALUES), "one too many", None))
    aggregates.apply(entered(0, "another"))
    found = {one["value"]: (one["reached"], one["entries"]) for one in aggregates.breakdown(TOTAL)}
    assert len(found) == MAX_VALUES + 2
    assert found["0"] == ([2, 0], [4, 0])
    assert found["1"] == found["null"] == ([1, 0], [2, 0])
    assert found[None] == ([2, 0], [4, 0])


def reached_first(aggregates: AttemptAggregates) -> dict[str | None, int]:
    """How many persons of each value reached the first step; None: of all that are not tracked."""
    return {one["value"]: one["reached"][0] for one in aggregates.breakdown(TOTAL)}


def test_junk_does_not_keep_frequent_values_from_being_tracked() -> None:
    aggregates = AttemptAggregates(2, entries=True)
    aggregates.apply(entered(*range(MAX_VALUES)))
    assert aggregates.values_error() is None
    came = dict.fromkeys(["pro", "free"], 0)
    for number in range(100):
        batch = ["pro", "pro", "free", f"junk {number}"]
        aggregates.apply(entered(*batch))
        for value in came:
            came[value] += batch.count(value)
    found, error = reached_first(aggregates), aggregates.values_error()
    assert error is not None
    assert len(found) == MAX_VALUES + 2
    for value, count in came.items():
        assert count - error <= found[json.dumps(value)] <= count
    assert sum(found.values()) == MAX_VALUES + 400
    assert error < 20
    copy = AttemptAggregates(2, entries=True)
    copy.load(TOTAL, published_total(aggregates))
    assert reached_first(copy) == found
    assert copy.values_error() == error


def test_values_are_tracked_as_long_as_their_text_finds_room() -> None:
    aggregates, size = AttemptAggregates(2, entries=True), MAX_TEXT_BYTES // 400
    aggregates.apply(entered(*(f"{number:06}" + "ü" * 194 for number in range(MAX_VALUES))))
    found = reached_first(aggregates)
    assert size <= len(found) <= 1.1 * size
    assert sum(found.values()) == MAX_VALUES
    assert aggregates.values_error() == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=40))
def test_a_value_lacks_no_more_persons_than_the_error_says(batches: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.engine.breakdown.MAX_VALUES", 5)
        funnel, cohort = AttemptAggregates(2, entries=True), CohortAggregates(1, broken_down=True)
        for batch in batches:
            funnel.apply(entered(*batch))
            cohort.apply(began(*batch))
    came = [value for batch in batches for value in batch]
    of_cohort = {one["value"]: one["persons"] for one in cohort.breakdown(7)}
    for found, error in (
        (reached_first(funnel), funnel.values_error()),
        (of_cohort, cohort.values_error()),
    ):
        assert sum(found.values()) == len(came)
        assert (error is None) == (not found.get(None))
        for value in set(came):
            count = came.count(value)
            assert count - (error or 0) <= found.get(str(value), 0) <= count


def began(*values: Any) -> ValuedChanges:
    """A person of each of the values has begun."""
    records = np.zeros(len(values), COHORT_CHANGE)
    records["period"], records["added"] = 7, 1
    records["value"] = [fingerprint([value]) for value in values]
    return ValuedChanges(records, {fingerprint([value]): token(value) for value in values})


def published_total(aggregates: AttemptAggregates) -> dict[str, Any]:
    return {
        "reached": aggregates.reached(TOTAL),
        "times": [],
        "entries": aggregates.entries(TOTAL),
        "breakdown": aggregates.breakdown(TOTAL),
        "values_error": aggregates.values_error(),
    }


def test_aggregates_that_were_published_continue_as_they_were() -> None:
    aggregates, copy = AttemptAggregates(2, entries=True), AttemptAggregates(2, entries=True)
    aggregates.apply(entered(*range(MAX_VALUES - 1), "x"))
    published = {
        "reached": aggregates.reached(TOTAL),
        "times": [],
        "entries": aggregates.entries(TOTAL),
        "breakdown": aggregates.breakdown(TOTAL),
    }
    copy.load(TOTAL, published)
    for one in (aggregates, copy):
        one.apply(entered("x", "y"))
    assert copy.breakdown(TOTAL) == aggregates.breakdown(TOTAL)


@pytest.mark.parametrize("shown", ["1.2345678901234568e+18", f'"{"x" * 200}"'])
def test_a_value_that_an_earlier_version_published_keeps_its_place(shown: str) -> None:
    """It compared numbers as doubles and text to the 200th character: so rows have its values."""
    value = json.loads(shown)
    aggregates = AttemptAggregates(2, entries=False)
    aggregates.load(
        TOTAL,
        {
            "reached": [1, 0],
            "times": [],
            "entries": [],
            "breakdown": [{"value": shown, "reached": [1, 0], "entries": []}],
        },
    )
    aggregates.apply(entered(value, 1_234_567_890_123_456_789, f"{'x' * 200}y"))
    counts = reached_first(aggregates)
    assert counts.pop("null") == 0
    assert counts.pop(shown) == 2
    assert list(counts.values()) == [1, 1]


def test_a_value_that_is_tracked_is_published_before_it_counts_anything() -> None:
    """An event that changes no figure brings a value: what comes after a crash has to know it."""
    tokens = {fingerprint(["x"]): token("x")}
    chains, cohort = AttemptAggregates(2, entries=False), CohortAggregates(1, broken_down=True)
    for aggregates, change in ((chains, CHANGE), (cohort, COHORT_CHANGE)):
        nothing = ValuedChanges(np.zeros(0, change), tokens)
        assert aggregates.apply(nothing) == {TOTAL}
        assert aggregates.apply(nothing) == set()
        assert [one["value"] for one in aggregates.breakdown(TOTAL)] == ["null", '"x"']


def test_records_of_older_layouts_are_read_beside_those_with_values() -> None:
    current, earlier = load("funnel-result"), history("funnel-result")
    *_, older = (schema for schema in earlier if "breakdown" not in schema.arrow.names)
    common = {"project_id": "p", "funnel_id": "f", "version": 1, "partition": 0, "position": 1}
    common |= {"times": [], "late_dropped": 0, "updated_at": 0, "day": None, "reached": [1, 0]}
    values = [
        {"value": None, "reached": [1, 2], "entries": []},
        {"value": '"x"', "reached": [1, 0], "entries": [3, 4]},
    ]
    records: list[bytes | None] = []
    for schema_id, schema in enumerate((current, older)):
        encoder = Encoder(schema, schema_id)
        row = common | {"entries": [3, 4], "breakdown": values}
        records += encoder.encode(pa.RecordBatch.from_pylist([row], schema=encoder.arrow))
    decoded = Codec(current, lambda ids: {n: (current, older)[n] for n in ids}).decode(records)
    assert not decoded.failures
    assert [(row["entries"], row["breakdown"]) for row in decoded.batch.to_pylist()] == [
        ([3, 4], values),
        ([], []),
    ]
