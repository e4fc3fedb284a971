"""A segment has the persons of whom its rule holds, in whatever order events and time come."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.columnar.string_column import StringColumn
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Packed
from pipelines.matching.match import Key, Match, dictionary_column
from pipelines.matching.matcher import Matcher, Selection
from pipelines.operators.segment.aggregates import Moves, SegmentAggregates
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.state import TIMERS_BATCH, SegmentState
from schemas.conditions import Condition
from schemas.event_filter import EventFilter
from schemas.operators.segment import EventSequence, Performed, Rule, Seen
from tests.oracles import segment as oracle
from tests.oracles.events import Event

KEY = Key("segment", "shop", "s", 1)
NOW = 1_800_000_000_000
TEXT_OF_NOW = "2027-01-15T08:00:00Z"
PERSONS = 3
FOR_EVER_MS = 2**40


class Happening(NamedTuple):
    """What a person, by slot, did at an instant (ms), in the order of arrival."""

    person: int
    event: str
    at: int
    properties: dict[str, Any]


def members(rule: Rule, life: Sequence[Happening], now: int) -> set[int]:
    """The persons of whom a rule holds by its definition."""
    events = [Event(str(one.person), one.event, one.at, one.properties) for one in life]
    return {int(person) for person in oracle.members(msgspec.to_builtins(rule), events, now)}


_moments = st.integers(0, 12).map(lambda n: NOW + 1_000 * n) | st.integers(NOW, NOW + 9_999)
_happenings = st.builds(
    Happening,
    st.integers(0, PERSONS - 1),
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
_wheres = st.sampled_from([(), (), (Condition("n", "gte", 2),)])
_names = st.sampled_from([None, "a", "b", "c"])
_spans = st.none() | st.integers(1, 8)
_performed = st.one_of(
    st.builds(Performed, event=_names, where=_wheres, at_least=st.integers(1, 3), within_s=_spans),
    st.builds(Performed, event=_names, where=_wheres, at_most=st.integers(0, 3), within_s=_spans),
    st.builds(Performed, event=_names, where=_wheres, exactly=st.integers(0, 3), within_s=_spans),
)
_texts = st.integers(0, 9).map(lambda n: TEXT_OF_NOW.replace("00Z", f"0{n}Z"))
_seens = st.one_of(
    st.builds(Seen, event=_names, where=_wheres, before=_texts),
    st.builds(Seen, event=_names, where=_wheres, after=_texts),
    st.builds(Seen, event=_names, where=_wheres, within_s=st.integers(1, 8)),
    st.builds(Seen, event=_names, where=_wheres, not_within_s=st.integers(1, 8)),
)
_steps = st.lists(st.builds(EventFilter, _names, _wheres), min_size=2, max_size=3).map(tuple)
_person = st.sampled_from(
    [
        (Condition("plan", value="pro"),),
        (Condition("plan", "not_equals", "free"),),
        (Condition("b.c", "is_set"),),
        (Condition("age", "gt", 2), Condition("plan", "is_not_set")),
        (Condition(or_=(Condition("age", "lt", 2), Condition(not_=Condition("plan", "is_set")))),),
    ]
)
_leaves = st.one_of(
    st.builds(lambda performed: Rule(performed=performed), _performed),
    st.builds(lambda seen: Rule(first_seen=seen), _seens),
    st.builds(lambda seen: Rule(last_seen=seen), _seens),
    st.builds(lambda steps, s: Rule(sequence=EventSequence(steps, s)), _steps, st.integers(1, 5)),
    st.builds(lambda person: Rule(person=person), _person),
)


def _nested(inner: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        several.map(lambda rules: Rule(and_=rules)),
        several.map(lambda rules: Rule(or_=rules)),
        inner.map(lambda rule: Rule(not_=rule)),
    )


rules = st.recursive(_leaves, _nested, max_leaves=5)
lives = st.lists(_happenings, max_size=12)


class Stream:
    """A segment fed with events as a partition feeds it, and what it announced."""

    def __init__(self, rule: Rule, lateness_ms: int = FOR_EVER_MS) -> None:
        self.program = compile_rule(rule)
        self.matcher = Matcher([Selection(KEY, self.program.selectors, self.program.reads)])
        self.lateness_ms = lateness_ms
        self.state = SegmentState(self.program, lateness_ms)
        self.aggregates = SegmentAggregates("UTC")
        self.members: set[int] = set()
        self.moves: list[tuple[int, bool, int, int | None]] = []
        self.offset = 0
        self.late = 0

    def match(self, happenings: Sequence[Happening]) -> Match | None:
        found = self.matcher.match(
            StringColumn.of(pa.array(["shop"] * len(happenings), pa.string())),
            StringColumn.of(pa.array([one.event for one in happenings], pa.string())),
            pa.array([json.dumps(one.properties) for one in happenings], pa.string()),
        )
        return found.matches.get(KEY)

    def fold(self, happenings: Sequence[Happening], offset: int) -> Any:
        match = self.match(happenings)
        if match is None:
            return np.empty(0)
        folded = self.state.fold(
            PERSONS,
            np.array([happenings[row].person for row in match.rows], np.int32),
            np.array([happenings[row].at for row in match.rows], np.int64),
            match.masks,
            match.rows + offset,
            match.values,
        )
        self.late += folded.late
        return folded.changes

    def feed(self, *happenings: Happening) -> "Stream":
        changes = self.fold(happenings, self.offset)
        if len(changes):
            self.take(changes)
        self.offset += len(happenings)
        return self

    def expire(self, now: int) -> "Stream":
        while (expired := self.state.expire(now)) is not None:
            self.take(expired.changes)
        return self

    def take(self, changes: Any) -> None:
        """Each change is one: nobody enters who is in, nobody leaves who is not."""
        self.aggregates.apply(changes)
        persons = self.state.persons_of(changes["row"]).tolist()
        for person, change in zip(persons, changes, strict=True):
            assert (person in self.members) != bool(change["entered"])
            self.members ^= {person}
            event_at = int(change["event_at"]) if change["event_at"] > 0 else None
            self.moves.append((person, bool(change["entered"]), int(change["at"]), event_at))

    def restore(self, happenings: Sequence[Happening], logged: int) -> None:
        """Go on with what is logged, the events from `logged` on being folded again."""
        old, self.state = self.state, SegmentState(self.program, self.lateness_ms)
        rows = np.arange(old.size, dtype=np.int32)
        if len(rows):
            self.state.unpack(PERSONS, old.persons_of(rows), old.pack(rows, logged))
        self.fold(happenings, 0)
        self.state.restored()


CHECKED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(rules, lives, st.integers(1, 5), st.lists(_moments, max_size=3))
@CHECKED
def test_the_fold_equals_the_rule_in_any_order_of_arrival_as_time_passes(
    rule: Rule, life: list[Happening], batch: int, moments: list[int]
) -> None:
    stream, clock = Stream(rule), NOW
    for begin in range(0, len(life), batch):
        stream.feed(*life[begin : begin + batch])
        clock = max(clock, *(one.at for one in life[: begin + batch]))
        assert stream.expire(clock).members == members(rule, life[: begin + batch], clock)
    for moment in sorted(moments):
        now = max(clock, moment + 5_000)
        assert stream.expire(now).members == members(rule, life, now)
    assert stream.aggregates.of(TOTAL).entered - stream.aggregates.of(TOTAL).left == len(
        stream.members
    )
    assert stream.late == 0


@given(rules, lives, st.data())
@CHECKED
def test_a_person_who_was_logged_continues_as_if_nothing_had_happened(
    rule: Rule, life: list[Happening], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(life)))
    stream, clock = Stream(rule), max((one.at for one in life), default=NOW)
    stream.feed(*life[:cut]).expire(max((one.at for one in life[:cut]), default=NOW))
    stream.restore(life[:cut], cut)
    stream.feed(*life[cut:])
    for now in (clock, clock + 4_000, clock + 20_000):
        assert stream.expire(now).members == members(rule, life, now)


@given(rules, lives, st.data())
@CHECKED
def test_events_that_are_folded_again_publish_nothing_again(
    rule: Rule, life: list[Happening], data: st.DataObject
) -> None:
    """As on the stream, a person who moved is logged at once, later than the others."""
    cut = data.draw(st.integers(0, len(life)))
    stream = Stream(rule).feed(*life[:cut])
    stream.expire(max((one.at for one in life[:cut]), default=NOW))
    before = len(stream.moves)
    old, everybody = stream.state, np.arange(stream.state.size, dtype=np.int32)
    logged = [(old.persons_of(everybody), old.pack(everybody, cut))]
    clock = max((one.at for one in life), default=NOW)
    stream.feed(*life[cut:]).expire(clock)
    moved = np.array(sorted({move[0] for move in stream.moves[before:]}), np.int32)
    logged.append((moved, old.pack(old.rows_of(moved), len(life))))
    stream.state = SegmentState(stream.program, stream.lateness_ms)
    for slots, packed in logged:
        if len(slots):
            stream.state.unpack(PERSONS, slots, packed)
    stream.fold(life, 0)
    stream.state.restored(old.clock)
    announced = list(stream.moves)
    assert stream.expire(clock).moves == announced
    for now in (clock + 4_000, clock + 20_000):
        assert stream.expire(now).members == members(rule, life, now)


def did(event: str, at: int, properties: dict[str, Any] | None = None) -> Happening:
    return Happening(0, event, NOW + at, properties or {})


def test_an_event_counts_for_as_long_as_it_is_no_older_than_the_span() -> None:
    stream = Stream(Rule(performed=Performed(event="a", at_least=2, within_s=10)))
    stream.feed(did("a", 3_000), did("a", 0)).expire(NOW + 10_000)
    assert stream.members == {0}
    stream.expire(NOW + 10_001)
    assert stream.members == set()
    assert stream.moves == [
        (0, True, NOW + 3_000, NOW),  # it came when the clock was further
        (0, False, NOW + 10_001, None),
    ]


def test_a_change_made_by_time_has_the_time_at_which_it_happened_however_late_it_is_found() -> None:
    rule = Rule(last_seen=Seen(not_within_s=10))
    assert Stream(rule).feed(did("a", 0)).expire(NOW + 99_999).moves == [
        (0, True, NOW + 10_001, None)
    ]
    assert Stream(rule).feed(did("a", 0)).feed(did("b", 60_000)).moves == [
        (0, True, NOW + 10_001, None),
        (0, False, NOW + 60_000, NOW + 60_000),
    ]


def test_a_person_enters_and_leaves_an_exact_count_with_time_alone() -> None:
    stream = Stream(Rule(performed=Performed(exactly=1, within_s=10)))
    stream.feed(did("a", 0), did("a", 4_000)).expire(NOW + 60_000)
    assert [move[1:3] for move in stream.moves] == [
        (True, NOW),
        (False, NOW + 4_000),
        (True, NOW + 10_001),
        (False, NOW + 14_001),
    ]


def test_any_event_makes_a_member_if_the_rule_holds_of_persons_without_events() -> None:
    asked = Rule(performed=Performed(event="buy", at_most=0))
    assert Stream(asked).feed(did("look", 0)).members == {0}
    assert Stream(asked).feed(did("buy", 0)).members == set()
    asked = Rule(not_=Rule(person=(Condition("plan", value="pro"),)))
    assert Stream(asked).feed(did("look", 0)).members == {0}


def test_a_segment_selects_only_events_that_its_rule_asks_for() -> None:
    asked = Rule(
        and_=(
            Rule(performed=Performed(event="buy")),
            Rule(not_=Rule(performed=Performed(event="return"))),
        )
    )
    assert Stream(asked).match([did("look", 0)]) is None
    asked = Rule(person=(Condition("plan", value="pro"),))
    assert Stream(asked).match([did("look", 0, {"plan": "pro"})]) is None
    assert Stream(asked).feed(did("look", 0, {"$set": {"age": 1}})).state.size == 0


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ([{"$set": {"plan": "pro"}}], True),
        ([{"$set": {"plan": "pro"}}, {"$set": {"plan": "free"}}], False),
        ([{"$set": {"plan": "pro"}}, {"$set": {"plan": None}}], True),
        ([{"$set": {"plan": "pro"}}, {"$set": {"plan": {"of": "an object"}}}], True),
        ([{"$set": {"plan": "pro"}}, {"$set_once": {"plan": "free"}}], True),
        ([{"$set_once": {"plan": "pro"}}, {"$set_once": {"plan": "free"}}], True),
        ([{"$set_once": {"plan": "pro"}}, {"$set": {"plan": "free"}}], False),
        ([{"plan": "pro"}], False),
        ([{"$set.plan": "pro"}], False),
    ],
)
def test_a_property_is_what_was_set_last_or_else_first_set_once(
    said: list[dict[str, Any]], holds: bool
) -> None:
    asked = Rule(person=(Condition("plan", value="pro"),))
    in_order = [did("a", n, properties) for n, properties in enumerate(said)]
    for events in (in_order, in_order[::-1]):
        assert Stream(asked).feed(*events).members == ({0} if holds else set())
    # Of equal times, the last that came is set, and the first that came is set once.
    at_once = [event._replace(at=NOW) for event in in_order]
    assert Stream(asked).feed(*at_once).members == ({0} if holds else set())


def test_an_object_is_found_however_its_name_is_escaped() -> None:
    program = compile_rule(Rule(person=(Condition("plan", value="pro"),)))
    matcher = Matcher([Selection(KEY, program.selectors, program.reads)])
    texts = [r'{"\u0024set": {"plan": "pro"}}', r'{"$s\u0065t": {"plan": 1}}', r'{"a": "\n"}']
    shop, name = (StringColumn.of(pa.array([text] * len(texts))) for text in ("shop", "a"))
    found = matcher.match(shop, name, pa.array(texts)).matches[KEY]
    assert found.rows.tolist() == [0, 1]
    assert dictionary_column(found.values[0]).to_list() == ["pro", 1]


def test_a_completed_sequence_stays_completed_from_the_event_that_completed_it() -> None:
    steps = (EventFilter("a"), EventFilter("b"))
    stream = Stream(Rule(sequence=EventSequence(steps, window_s=10)))
    stream.feed(did("a", 0), did("b", 10_001), did("b", 10_000))
    stream.feed(did("a", 20_000))
    assert stream.expire(NOW + FOR_EVER_MS).moves == [(0, True, NOW + 10_001, NOW + 10_000)]


def test_the_event_that_completes_a_sequence_is_found_within_a_batch() -> None:
    sequence = Rule(sequence=EventSequence((EventFilter("a"), EventFilter("b")), 9))
    asked = Rule(and_=(Rule(performed=Performed(event="b")), Rule(not_=sequence)))
    events = [did("a", 0), *(did("b", at) for at in range(1, 50))]
    assert Stream(asked).feed(*events).moves == []
    # At one moment the steps are taken in their order: the first two events complete it.
    moves = Stream(asked).feed(did("b", 0), *events).moves
    assert [(entered, event_at) for _, entered, _, event_at in moves] == [(True, NOW), (False, NOW)]


def test_a_step_that_comes_later_than_the_lateness_is_counted_and_left_out() -> None:
    steps = (EventFilter("a"), EventFilter("b"))
    rule = Rule(
        and_=(Rule(sequence=EventSequence(steps, 60)), Rule(performed=Performed(event="a")))
    )
    stream = Stream(rule, lateness_ms=1_000).feed(did("b", 10_000)).feed(did("a", 0))
    assert (stream.members, stream.late) == (set(), 1)
    assert stream.state.size == 1


def test_moves_are_counted_by_the_day_on_which_persons_moved() -> None:
    stream = Stream(Rule(performed=Performed(within_s=86_400)))
    stream.feed(did("a", 0)).expire(NOW + 3 * 86_400_000)
    day = NOW // 86_400_000
    assert {day: stream.aggregates.of(day) for day in stream.aggregates} == {
        day: Moves(1, 0),
        day + 1: Moves(0, 1),
    }


def test_one_call_handles_a_limited_number_of_timers() -> None:
    program = compile_rule(Rule(performed=Performed(within_s=1)))
    state, many = SegmentState(program, 0), 2 * TIMERS_BATCH + 1
    slots = np.arange(many, dtype=np.int32)
    ones, at = np.ones(many, np.uint32), np.full(many, NOW)
    folded = state.fold(many, slots, at, ones, np.arange(many))
    assert folded.flush_now.tolist() == slots.tolist()  # who entered is logged
    assert state.expire(NOW) is None
    left = []
    while (expired := state.expire(NOW + 2_000)) is not None:
        assert expired.changes is not None
        left.append(len(expired.changes))
        assert len(expired.rows) == len(expired.changes)
    assert left == [TIMERS_BATCH, TIMERS_BATCH, 1]


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    state = SegmentState(compile_rule(Rule(performed=Performed())), 0)
    known = np.zeros(state._packed.itemsize, np.uint8).tobytes()
    for row in (known, b"", b"\x01\x02"):
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        with pytest.raises(ValueError, match="layout"):
            state.unpack(1, np.zeros(1, np.int32), packed)


def test_a_dump_without_any_step_of_a_sequence_continues() -> None:
    steps = (EventFilter("a"), EventFilter("b"))
    rule = Rule(or_=(Rule(sequence=EventSequence(steps, 60)), Rule(performed=Performed(event="c"))))
    stream = Stream(rule).feed(did("c", 0))
    dumped, stream.state = stream.state.dump(), SegmentState(stream.program, FOR_EVER_MS)
    stream.state.load(dumped, 1)
    stream.state.restored()
    assert stream.feed(did("a", 0), did("b", 1)).members == {0}


def test_a_dump_that_is_loaded_continues_as_if_nothing_had_happened() -> None:
    steps = (EventFilter("a"), EventFilter("b"))
    rule = Rule(
        or_=(
            Rule(sequence=EventSequence(steps, 60)),
            Rule(performed=Performed(event="c", within_s=10)),
        )
    )
    stream = Stream(rule).feed(did("a", 0), did("c", 0)).expire(NOW)
    dumped, stream.state = stream.state.dump(), SegmentState(stream.program, FOR_EVER_MS)
    stream.state.load(dumped, 2)
    stream.state.restored()
    assert stream.expire(NOW + 20_000).members == set()
    assert stream.feed(did("b", 20_000)).members == {0}
