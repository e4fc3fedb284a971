"""Segments that ask for scores: whatever happens in between, they are what their rule says.

Events and scores come in two logs. Scores count from the segment's definition on.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from tests.laws.conftest import Subject
from tests.laws.driver import Life, cut
from tests.laws.entry import PERSONS, Case, entry_of
from tests.laws.segment import FOR_EVER_MS, events, leaves, nested
from tests.oracles import segment as oracle
from tests.oracles.events import Event

checked = hypothesis.settings(hypothesis.settings.get_profile("laws"))
SCORES = [-1e300, -0.0, 0.0, 0.25, 0.5, 0.7, 0.7000000000000001, 1.0, 12.5]
PREDICTIONS = ["buys", "leaves"]

_bounds = st.sampled_from(
    [
        {"at_least": 0.7},
        {"at_least": 0.0},
        {"below": 0.7},
        {"below": 0.0},
        {"at_least": 0.25, "below": 0.7},
        {"at_least": -1e300},
    ]
)
_predicted = st.tuples(st.sampled_from(PREDICTIONS), _bounds).map(
    lambda drawn: {"predicted": {"prediction": drawn[0], **drawn[1]}}
)
# Each has at least one condition on a score.
rules = st.one_of(
    _predicted,
    _predicted.map(lambda rule: {"not": rule}),
    st.tuples(st.recursive(_predicted | leaves, nested, max_leaves=4), _predicted).flatmap(
        lambda two: st.sampled_from([{"and": list(two)}, {"or": list(two)}])
    ),
)
_scores = st.dictionaries(st.sampled_from(PERSONS), st.none() | st.sampled_from(SCORES), min_size=1)
_steps = st.lists(
    st.one_of(
        st.lists(events, min_size=1, max_size=4),
        st.tuples(st.sampled_from(PREDICTIONS), _scores),
        st.sampled_from([1_000, 9_000]),  # of waiting (ms)
    ),
    min_size=1,
    max_size=12,
)


class Told:
    """What the segment has been told: events, and the newest scores of persons who had events."""

    def __init__(self, rule: dict[str, Any]) -> None:
        self.rule = rule
        self.events: list[Event] = []
        self.scores: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def known(self, scores: Mapping[str, float | None]) -> dict[str, float | None]:
        """Those scores that can be: of persons who had an event."""
        persons = {event.person for event in self.events}
        return {person: one for person, one in scores.items() if person in persons}

    def note(self, prediction: str, scores: Mapping[str, float | None]) -> None:
        for person, score in scores.items():
            self.scores[person].pop(prediction, None)
            if score is not None:
                self.scores[person][prediction] = score

    def assert_right(self, life: Life) -> None:
        """The published members and sizes must be those of the rule."""
        published, now = life.published(), life.clock
        members = oracle.members(self.rule, self.events, now, self.scores)
        entry = entry_of("segment")
        assert entry.changes
        assert entry.changes(published) == members
        shown = entry.read({"rule": self.rule}, published, now)
        assert (shown.persons, shown.by_days) == (len(members), len(members))


def new_life(rule: dict[str, Any], lateness_ms: int = FOR_EVER_MS, **how: Any) -> Life:
    subject = Subject("segment", "any rule", entry_of("segment"))
    return subject.life(Case({"rule": rule}, [], lateness_ms), **how)


def do(life: Life, step: object, told: Told) -> None:
    """Take a step, in which a score that cannot be is left out."""
    match step:
        case int():
            life.fold([], step)
        case (str() as prediction, dict() as scores):
            if known := told.known(scores):
                _score(life, prediction, known)
                told.note(prediction, known)
        case list():
            life.fold(step)
            told.events += step


def _score(life: Life, prediction: str, scores: Mapping[str, float | None]) -> None:
    if prediction in life.predictions:
        life.score(prediction, scores)


@checked
@given(data=st.data(), checkpoint_ms=st.sampled_from([0, 5_000, 10**9]))
def test_whatever_comes_between_crashes_the_members_are_those_of_the_rule(
    data: st.DataObject, checkpoint_ms: int
) -> None:
    rule = data.draw(rules)
    life, told = new_life(rule, checkpoint_ms=checkpoint_ms), Told(rule)
    for step in data.draw(_steps):
        do(life, step, told)
        if data.draw(st.booleans()):
            continue
        life.commit()
        told.assert_right(life)
        match data.draw(st.sampled_from(["", "", "snapshot", "crash", "both", "from beginning"])):
            case "snapshot":
                life.snapshot()
            case "crash":
                _crash(life)
            case "both":
                life.snapshot()
                _crash(life)
            case "from beginning":
                life.crash(from_the_beginning=True)
                life.commit()
        told.assert_right(life)
    life.commit()
    told.assert_right(life)


def _crash(life: Life) -> None:
    before = life.scores_position
    life.crash()
    assert life.scores_position == before
    assert life.commit() == []  # nothing is announced that was before


@checked
@given(data=st.data())
def test_a_life_with_crashes_keeps_the_rows_of_one_without(data: st.DataObject) -> None:
    rule, steps = data.draw(rules), data.draw(_steps)
    plain, crashing = (new_life(rule, checkpoint_ms=5_000) for _ in range(2))
    for step in steps:
        for life, told in ((plain, Told(rule)), (crashing, Told(rule))):
            told.events = [Event(person, "a", 0) for person in PERSONS]
            do(life, step, told)
            life.commit()
        if data.draw(st.booleans()):
            crashing.crash()
            crashing.commit()
        assert crashing.published() == plain.published()
    assert crashing.rows() == plain.rows()  # last: rows that are asked for count as logged


@checked
@given(data=st.data(), batch=st.integers(1, 6))
def test_a_segment_that_is_defined_later_has_the_scores_since_then(
    data: st.DataObject, batch: int
) -> None:
    rule, history = data.draw(rules), data.draw(st.lists(events, min_size=1, max_size=12))
    life, told = new_life(rule, late=True), Told(rule)
    for some in cut(history, [4, 4]):
        life.take(some)
    told.events += history
    life.define()
    done = False
    while not done:
        if data.draw(st.booleans()):
            do(life, (data.draw(st.sampled_from(PREDICTIONS)), data.draw(_scores)), told)
            life.commit()
        if data.draw(st.booleans()):
            _crash_while_backfilling(life)
        done = life.backfill(batch)
    for step in data.draw(_steps):
        do(life, step, told)
        life.commit()
    life.take([], 1)
    told.assert_right(life)


def _crash_while_backfilling(life: Life) -> None:
    before = life.scores_position
    life.crash()
    assert life.scores_position == before


@checked
@given(data=st.data())
def test_a_recount_keeps_the_scores(data: st.DataObject) -> None:
    sequence = {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "window_s": 5}}
    both = data.draw(st.sampled_from(["and", "or"]))
    rule = {both: [sequence, data.draw(_predicted)]}
    life, told = new_life(rule, 0), Told(rule)
    for step in data.draw(_steps):
        do(life, step, told)
        life.commit()
        for _ in life.recount(data.draw(st.integers(1, 5)), [10**9]):
            pass
        life.commit()
        told.assert_right(life)
