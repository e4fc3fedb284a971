"""A definition is given the events that it selects, and what it reads of them."""

import pyarrow as pa

from pipelines.columnar.string_column import StringColumn
from pipelines.matching.match import Key, Match, dictionary_column, value_hashes
from pipelines.matching.matcher import Matcher, Selection
from pipelines.matching.selectors import EVENT_NAME, ValueHash
from pipelines.matching.value_hash import fingerprint
from schemas.conditions import Condition
from schemas.event_filter import EventFilter

KEY = Key("any", "shop", "one", 1)
OTHER = Key("any", "shop", "other", 1)


def match(matcher: Matcher, *events: tuple[str, str]) -> dict[Key, Match]:
    names, properties = zip(*events, strict=True)
    projects = StringColumn.of(pa.array(["shop"] * len(events)))
    found = matcher.match(projects, StringColumn.of(pa.array(names)), pa.array(properties))
    assert not found.failures
    return found.matches


def test_a_definition_is_given_the_rows_that_it_selects_and_no_others() -> None:
    selectors = (
        EventFilter("buy"),
        EventFilter("buy", (Condition("price", "gt", 5),)),
        EventFilter("look"),
    )
    found = match(
        Matcher([Selection(KEY, selectors), Selection(OTHER, (EventFilter("return"),))]),
        ("buy", '{"price": 3}'),
        ("sleep", "{}"),
        ("look", "not JSON"),
        ("buy", '{"price": 7}'),
    )
    assert found.keys() == {KEY}
    assert found[KEY].rows.tolist() == [0, 2, 3]
    assert found[KEY].masks.tolist() == [0b001, 0b100, 0b011]
    assert not found[KEY].values


def test_what_a_definition_reads_comes_with_its_events_in_their_order() -> None:
    found = match(
        Matcher([Selection(KEY, (EventFilter("buy"), EventFilter("look")), ("price", "a.b"))]),
        ("look", '{"price": 2.5, "a.b": "dotted"}'),
        ("buy", '{"price": {"an": "object"}, "a%2Eb": [1]}'),
        ("sleep", '{"price": 99}'),
        ("buy", '{"price": 18446744073709551616}'),
        ("buy", "[]"),
    )
    price, dotted = (dictionary_column(column).to_list() for column in found[KEY].values)
    assert price == [2.5, None, "18446744073709551616", None]
    assert dotted == ["dotted", [1], None, None]


def test_a_selector_without_a_name_selects_every_event_of_its_project() -> None:
    found = match(
        Matcher([Selection(KEY, (EventFilter(),), ("n",))]),
        ("a", '{"n": 1}'),
        ("b", "{}"),
        ("c", '{"n": 3}'),
    )
    assert found[KEY].rows.tolist() == [0, 1, 2]
    assert [dictionary_column(column).to_list() for column in found[KEY].values] == [[1, None, 3]]


def test_the_name_of_an_event_may_be_read_as_well() -> None:
    matcher = Matcher([Selection(KEY, (EventFilter(),), (EVENT_NAME, "n"))])
    found = match(matcher, ("naïve", '{"n": 1}'), ("b", "{}"))
    assert [dictionary_column(column).to_list() for column in found[KEY].values] == [
        ["naïve", "b"],
        [1, None],
    ]


def test_equal_values_are_read_as_the_same_hash_by_all_definitions() -> None:
    both, plan = ValueHash(("plan", "n")), ValueHash(("plan",))
    found = match(
        Matcher(
            [
                Selection(KEY, (EventFilter("a"),), (both, plan)),
                Selection(OTHER, (EventFilter(),), (plan,)),
            ]
        ),
        ("a", '{"plan": "pro", "n": 1}'),
        ("b", '{"plan": "free"}'),
        ("a", '{"plan": "pro", "n": 1.0}'),
        ("a", '{"n": 2}'),
    )
    held, of = map(value_hashes, found[KEY].values)
    (others,) = map(value_hashes, found[OTHER].values)
    assert held.numbers.tolist() == [
        fingerprint(values) for values in (["pro", 1], ["pro", 1], [None, 2])
    ]
    assert of.numbers.tolist() == [fingerprint([value]) for value in ("pro", "pro", None)]
    assert others.numbers[[0, 2, 3]].tolist() == of.numbers.tolist()
    assert of.tokens_by_number() == {fingerprint(["pro"]): "spro", fingerprint([None]): ""}
    assert others.cut(slice(1, 2)).tokens_by_number() == {fingerprint(["free"]): "sfree"}


def test_a_cut_keeps_rows_masks_and_values_together() -> None:
    found = match(
        Matcher([Selection(KEY, (EventFilter(),), ("n",))]),
        ("a", '{"n": 1}'),
        ("b", '{"n": 2}'),
        ("c", "{}"),
    )
    cut = found[KEY].cut(slice(1, 3))
    assert cut.rows.tolist() == [1, 2]
    assert [dictionary_column(column).to_list() for column in cut.values] == [[2, None]]
