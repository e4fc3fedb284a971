"""Properties that come straight onto Kafka get the form that all readers read alike."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracker.properties import MAX_PROPERTIES, check_properties
from schemas.json_text import canonicalize
from schemas.settings import Settings
from tests.pipelines.tracker_in_process import TrackerInProcess, event

FORMS = [
    ("{}", "{}"),
    ('{"a":1}', '{"a":1}'),
    ('{"a": [1, {"b": null}], "c": "x"}', '{"a": [1, {"b": null}], "c": "x"}'),
    ('{"plan":"free","plan":"pro"}', '{"plan":"pro"}'),
    ('{"a":{"b":1,"b":2}}', '{"a":{"b":2}}'),
    (r'{"plan":1,"pl\u0061n":2}', '{"plan":2}'),
    ('{"a":5e19,"b":1e17}', '{"a":5e+19,"b":100000000000000000}'),
    ('{"a":100000000000000000}', '{"a":100000000000000000}'),
    ('{"a":1e400,"b":1}', '{"b":1}'),
    ('{"a":NaN,"b":1}', '{"b":1}'),
    ('{"a":-0.0}', '{"a":0}'),
    (r'{"a":"cut \ud83d"}', '{"a":"cut \ufffd"}'),
    (r'{"a":"\ud83c\udf81 \"x\""}', r'{"a":"\ud83c\udf81 \"x\""}'),
    ("[]", "{}"),
    (" null ", "{}"),
    (' {"a":1} ', '{"a":1}'),
]
INVALID = [
    "",
    "x",
    "7",
    "[1]",
    '"{}"',
    "{",
    '{"a":tru}',
    '{"a":1,}',
    '{"a" 1}',
    "{1:2}",
    '{"a":01}',
]


def checked(*texts: str) -> tuple[list[str], dict[int, str]]:
    column, faults = check_properties(pa.array(texts, pa.string()))
    return column.to_pylist(), {row: fault.reason for row, fault in faults.items()}


@pytest.mark.parametrize(("text", "form"), FORMS)
def test_a_text_gets_its_canonical_form(text: str, form: str) -> None:
    assert checked(text) == ([form], {})
    assert checked("{}", text, '{"b":2}') == (["{}", form, '{"b":2}'], {})


@pytest.mark.parametrize("text", INVALID)
def test_what_is_no_object_is_rejected_and_costs_no_neighbour(text: str) -> None:
    texts, faults = checked('{"a":1}', text, '{"b":1,"b":2}')
    assert faults == {1: "invalid_properties"}
    assert (texts[0], texts[2]) == ('{"a":1}', '{"b":2}')


@pytest.mark.parametrize("value", ["1", "1e5", '"\\n"'])
def test_properties_are_counted_whatever_their_form(value: str) -> None:
    def of(count: int) -> str:
        return "{" + ",".join(f'"{n}":{value}' for n in range(count)) + "}"

    assert checked(of(MAX_PROPERTIES))[1] == {}
    assert checked(of(MAX_PROPERTIES + 1))[1] == {0: "invalid_properties"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": ")]),
)
def test_any_object_has_the_value_of_its_canonical_form(
    objects: list[dict[str, Any]], ascii_only: bool, separators: tuple[str, str]
) -> None:
    texts = [
        json.dumps(one, ensure_ascii=ascii_only, separators=separators).encode(errors="replace")
        for one in objects
    ]
    found, faults = checked(*(text.decode() for text in texts))

    assert not faults
    assert list(map(json.loads, found)) == [json.loads(canonicalize(text).text) for text in texts]


@given(st.text('{}[]",:01.-e tru', max_size=12))
def test_a_text_that_is_taken_is_an_object_of_json(text: str) -> None:
    found, faults = checked(text)
    if not faults:
        assert isinstance(json.loads(found[0]), dict)


def test_the_event_store_has_the_canonical_form(settings: Settings) -> None:
    tracker = TrackerInProcess(settings)
    tracker.send([event(properties=text) for text in (*INVALID, '{"a":1,"a":2}', '{"b":1}')])
    events, rejected = tracker.run()
    tracker.close()

    assert [one["properties"] for one in events] == ['{"a":2}', '{"b":1}']
    assert {one["reason"] for one in rejected} == {"invalid_properties"}
    assert {one["project"] for one in rejected} == {"shop"}
    assert len(rejected) == len(INVALID)
