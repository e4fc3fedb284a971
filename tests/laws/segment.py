"""Segments for the laws: rules of every form."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.definitions import Definition
from schemas.operators.segment import SegmentDefinition
from services.query.operators.segment.sql import members_statement, sizes_statement
from tests.laws.driver import NOW, Published
from tests.laws.entry import PERSONS, Case, Entry
from tests.oracles import segment as oracle
from tests.oracles.events import Event, Json
from tests.warehouse import Warehouse

TEXT_OF_NOW = "2027-01-15T08:00:00Z"
FOR_EVER_MS = 2**40


class Shown(NamedTuple):
    """How many persons are in the segment, and are so by the days on which they moved."""

    persons: int
    by_days: int


def _counted(body: Json, events: Sequence[Event], now: int) -> Shown:
    count = len(oracle.members(body["rule"], events, now))
    return Shown(count, count)


def _read(_: Json, published: Published, __: int) -> Shown:
    in_all = by_days = 0
    for record in published.aggregates:
        more = record["entered"] - record["left"]
        if record["day"] is None:
            in_all += more
        else:
            by_days += more
    return Shown(in_all, by_days)


def _members(published: Published) -> set[str]:
    """Who is in; fails if somebody enters who is in, or leaves who is not."""
    members: set[str] = set()
    for change in published.changes:
        person = change["person_id"]
        assert (person in members) == (change["change"] == "left"), change
        members ^= {person}
    return members


def _oracle_of_members(body: Json, events: Sequence[Event], now: int) -> set[str]:
    return oracle.members(body["rule"], events, now)


def _in_store(warehouse: Warehouse, definition: Definition, now: int) -> Shown:
    assert isinstance(definition, SegmentDefinition)
    database = warehouse.settings.clickhouse_database
    ((count,),) = warehouse.ask(sizes_statement(database, [definition], now))
    members = warehouse.ask(members_statement(database, definition, now, "", 100))
    return Shown(int(count), len(members[0]) if members else 0)


# ── cases ────────────────────────────────────────────────────────────────────────────────────────

_moments = st.integers(0, 12).map(lambda n: NOW + 1_000 * n) | st.integers(NOW, NOW + 9_999)
events = st.builds(
    Event,
    st.sampled_from(PERSONS),
    st.sampled_from("abc"),
    _moments,
    st.sampled_from(
        [
            {},
            {"n": 1},
            {"n": 2, "$set": {"plan": "pro"}},
            {"$set": {"plan": "free", "b.c": 1}},
            {"$set": {"plan": None, "b%2Ec": 2}},
            {"$set": {"plan": {"an": "object"}, "age": 3}},
            {"$set": "pro", "$set_once": {"plan": "pro", "age": 1}},
            {"$set_once": {"plan": "free", "age": 5}},
            {"$set_once": None},
        ]
    ),
)
_wheres = st.sampled_from([{}, {}, {"where": [{"property": "n", "op": "gte", "value": 2}]}])
_names = st.sampled_from([{}, {"event": "a"}, {"event": "b"}, {"event": "c"}])
_texts = st.integers(0, 9).map(lambda n: TEXT_OF_NOW.replace("00Z", f"0{n}Z"))


def _with(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda drawn: {k: v for part in drawn for k, v in part.items()})


def _one(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return values.map(lambda value: {name: value})


_spans: st.SearchStrategy[dict[str, Any]] = st.just({}) | _one("within_s", st.integers(1, 8))
_counts = st.one_of(
    _one("at_least", st.integers(1, 3)),
    _one("at_most", st.integers(0, 3)),
    _one("exactly", st.integers(0, 3)),
)
_times = st.one_of(
    _one("before", _texts),
    _one("after", _texts),
    _one("within_s", st.integers(1, 8)),
    _one("not_within_s", st.integers(1, 8)),
)
_sequences = _with(
    _one("steps", st.lists(_with(_names, _wheres), min_size=2, max_size=3)),
    _one("window_s", st.integers(1, 5)),
)
_conditions = st.sampled_from(
    [
        [{"property": "plan", "op": "equals", "value": "pro"}],
        [{"property": "plan", "op": "not_equals", "value": "free"}],
        [{"property": "b.c", "op": "is_set"}],
        [{"property": "age", "op": "gt", "value": 2}, {"property": "plan", "op": "is_not_set"}],
        [
            {
                "or": [
                    {"property": "age", "op": "lt", "value": 2},
                    {"not": {"property": "plan", "op": "is_set"}},
                ]
            }
        ],
    ]
)
leaves = st.one_of(
    _one("performed", _with(_names, _wheres, _counts, _spans)),
    _one("first_seen", _with(_names, _wheres, _times)),
    _one("last_seen", _with(_names, _wheres, _times)),
    _one("sequence", _sequences),
    _one("person", _conditions),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(_one("and", several), _one("or", several), _one("not", inner))


rules = st.recursive(leaves, nested, max_leaves=5)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A rule, and what persons did within some seconds."""
    drawn = draw(st.lists(events, min_size=1, max_size=12))
    return Case({"rule": draw(rules)}, drawn, FOR_EVER_MS)


ENTRY = Entry(
    {"rule": {"performed": {"event": "home", "within_s": 3_600}}},
    {"rule": {"performed": {"event": "cart"}}},
    {"any rule": cases()},
    _counted,
    _read,
    _in_store,
    changes=_members,
    oracle_of_changes=_oracle_of_members,
    more=lambda body: {"rule": body["rule"]},
    wait_ms=(4_000, 9_000, 60_000),
)
