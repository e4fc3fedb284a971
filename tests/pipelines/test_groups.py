"""The result for one event of a group is that of all its events."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.matching.conditions import parse_properties
from pipelines.matching.property_groups import Properties, PropertyFunction, PropertyNames

NAMES = ("plan", "price", "a b", "é", "")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(["pro", "free", "", 'a "b"', "\\", "\n", "é", "\N{SNOWMAN}", "\ud800"])
    | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=5,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r ")])


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    members = draw(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4))
    comma, colon = draw(SEPARATORS)
    ascii_only = draw(st.booleans())

    def write(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))

    text = comma.join(f"{write(name)}{colon}{write(value)}" for name, value in members)
    text = draw(st.sampled_from(["{%s}", " {%s} ", "{ %s\n}"])) % text
    return text.encode(errors="replace").decode()


@st.composite
def texts(draw: st.DrawFn) -> str:
    """As events carry them, and with a character more, or less, or another."""
    text = draw(json_texts())
    if text and draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(text)))
        more = draw(st.sampled_from(["", *'{}[],:"\\-.0e1tn ', "\0", "\x01", "null", "1e999"]))
        text = text[:place] + more + text[place + draw(st.integers(0, 1)) :]
    return text


def evaluated(function: PropertyFunction, some: list[str]) -> list[Any]:
    names_of_all = PropertyNames([("other",), function.names, (*function.names, "price")])
    properties, rows = Properties(pa.array(some, pa.string()), names_of_all), np.arange(len(some))
    half = rows[::2]
    first = properties.column(function, half).to_list()
    every: list[Any] = properties.evaluate(function, rows).tolist()
    assert repr(properties.column(function, rows).to_list()[::2]) == repr(first)
    assert [*every[::2]] == first or repr(every[::2]) == repr(first)  # not a number equals nothing
    return every


@given(
    st.lists(texts(), min_size=1, max_size=12),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(tuple),
)
@example(['{"plan":1}', '{"plan":1,"x":1e999}', '{"plan":1,"x":01}', '{"plan":1}x'], ("plan",))
@example(['{"plan":"a\\u0000b","price":1}', '{"plan":"a","price":1}'], ("plan", "price"))
@example(
    ['{"plan":1,"plan":2}', '{"plan":2}', '{"plan":1}', '{"pl\\u0061n":3,"plan":1}'], ("plan",)
)
@example(
    ['{"x":{"plan":1}}', '{"plan":{"x":[1,{"plan":2}],"y":{}}}', '{"x":[],"plan":[[]]}'], ("plan",)
)
@example(
    ['{"x":[1}', '{"x":{1}}', '{"x":{"a":1]}', '{"x":[1,]}', '{"x":1,}', "{,}", "{", ""], ("x",)
)
@example(["{" + '"a":{' * 80 + "}" * 81, '{"a":' + "[" * 60 + "]" * 60 + "}"], ("a",))
def test_the_result_is_that_of_each_event_alone(some: list[str], names: tuple[str, ...]) -> None:
    def call(properties: Mapping[str, Any]) -> Any:
        return [(name, properties.get(name)) for name in names] if names else dict(properties)

    expected = [call(parse_properties(text)) for text in some]
    assert repr(evaluated(PropertyFunction(names, call), some)) == repr(expected)


def test_events_that_are_alike_are_parsed_and_evaluated_once() -> None:
    calls = []

    def call(properties: Mapping[str, Any]) -> Any:
        calls.append(properties)
        return properties["plan"] == "pro"

    some = [
        '{"plan":"pro","n":1}',
        '{"n": 2, "plan": "pro"}',
        '{"plan":"free"}',
        '{"plan":"pro","other":{"plan":[1,2.50,-3,true,false,null,{}]}}',
    ]
    assert evaluated(PropertyFunction(("plan",), call, np.bool_), some) == [True, True, False, True]
    assert len(calls) == 2


def test_a_key_says_where_a_value_ends() -> None:
    some = ['{"a":1,"b":""}', '{"a":"","b":1}', '{"b":1}', '{"a":1}', "{}", '{"a":null}']
    function = PropertyFunction(
        ("a", "b"), lambda properties: (properties.get("a"), properties.get("b"))
    )
    nothing = (None, None)
    assert evaluated(function, some) == [(1, ""), ("", 1), (None, 1), (1, None), nothing, nothing]
    properties = Properties(pa.array(some), PropertyNames([function.names]))
    assert properties.column(function, np.arange(6)).codes.tolist() == [0, 1, 2, 3, 4, 5]


def test_an_event_that_is_not_plain_is_a_group_by_itself() -> None:
    some = ["no JSON", "no JSON", '{"a":"\\n"}', '{"a":"\\n"}', '{"a":1}', '{"a":1,"b":2}']
    properties = Properties(pa.array(some), PropertyNames([("a",)]))
    function = PropertyFunction(("a",), lambda properties: properties.get("a"))
    assert properties.column(function, np.arange(6)).codes.tolist() == [0, 1, 2, 3, 4, 4]


def test_names_are_put_into_blocks_with_those_of_one_function_together() -> None:
    needed = [tuple(f"{n}.{m}" for m in range(16)) for n in range(5)]
    names_of_all = PropertyNames([*needed, needed[3]])
    assert len(names_of_all) == 3
    for names in needed:
        number, columns = names_of_all.places(names)
        block = names_of_all.block(number)
        assert len(block.starts) - 1 <= 32
        assert block.take(columns) == list(names)


def test_a_dictionary_column_has_its_values_in_the_order_of_its_rows() -> None:
    column = DictionaryColumn(np.array([3, 0, 3, 2, 0], np.int32), ["a", "none's", "b", "c"])
    assert column.to_list() == ["c", "a", "c", "b", "a"]
    assert column.first_rows() == [0, 1, 3]
    assert column.cut(slice(1, 3)).first_rows() == [0, 1]
    assert column.each(ord, np.int64).tolist() == [99, 97, 99, 98, 97]
    assert DictionaryColumn.of(()).first_rows() == []
