"""Counts by value: of a limited number of values, and the same after they were published."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.engine.breakdown import MAX_VALUES, ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.matching.value_hash import fingerprint
from pipelines.operators.cohort.aggregates import CohortAggregates
from pipelines.operators.cohort.columns import CHANGE as COHORT_CHANGE
from pipelines.operators.funnel.attempt_aggregates import AttemptAggregates
from pipelines.operators.funnel.columns import CHANGE, VALUE
from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import history, load
from schemas.value_tokens import to_json, token, whole_token


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
        (2**64 - 1, "1.8446744073709552e+19"),
        ("1", '"1"'),
        ("", '""'),
        ('é"', '"é\\""'),
        ([1], "null"),
    ],
)
def test_a_value_is_written_as_json_and_distinguished_from_others(value: Any, text: str) -> None:
    assert to_json(token(value)) == text
    assert fingerprint([json.loads(text)]) == fingerprint([value])


def test_values_that_differ_have_other_fingerprints_in_other_places_too() -> None:
    values: list[list[Any]] = [[None], [""], [0], ["0"], [False], ["t"], [True], [1, 2], [2, 1], []]
    assert len(set(map(fingerprint, values))) == len(values)
    assert fingerprint(["x" * 200 + "y"]) == fingerprint(["x" * 200 + "z"])


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
    current, *_, older = [load("funnel-result"), *history("funnel-result")[:-1]]
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
