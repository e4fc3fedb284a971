"""A prediction asks, describes and answers as its definition says, however its log is cut."""

import itertools
import json
import math
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.string_column import StringColumn
from pipelines.matching.match import Key
from pipelines.matching.matcher import Matcher, Selection
from pipelines.operators.prediction.columns import Outcomes, Questions
from pipelines.operators.prediction.operator import reads_of, selectors_of
from pipelines.operators.prediction.state import PredictionChanges, PredictionState
from schemas.operators.prediction import Prediction, all_features_of, decode_prediction, features_of
from tests.oracles import prediction as oracle
from tests.oracles.events import Event, Json, selected

NOON = 20_000 * 86_400_000 + 43_200_000
PERSONS = ("ana", "bo", "cy")
KEY = Key("prediction", "shop", "buys", 1)
NAMES = ("view", "cart", "buy")
BODY: Json = {
    "goal": {"event": "buy"},
    "within_s": 1_800,
    "lateness_s": 60,
    "events": [{"event": "view"}, {"event": "cart"}],
    "steps": [{"event": "view"}, {"event": "cart"}, {"event": "buy"}],
    "conditions": [
        {"filter": {"event": "view"}, "within_s": 600, "at_least": 2},
        {"filter": {"event": "buy"}, "within_s": 86_400},
    ],
    "amount": "price",
    "property": "size",
}


def prediction(**changes: Any) -> Prediction:
    return decode_prediction(json.dumps({**BODY, **changes}).encode())


class Asked(NamedTuple):
    """All that a state has emitted, batch after batch."""

    questions: list[Questions]
    outcomes: list[Outcomes]
    capped: int
    late: int


def feed(
    state: PredictionState, of: Prediction, log: Sequence[Event], offset: int = 0
) -> PredictionChanges:
    body = msgspec.to_builtins(of)
    filters = [{"event": None, "where": [], **msgspec.to_builtins(f)} for f in selectors_of(of)]
    masks = [sum(selected(f, event) << bit for bit, f in enumerate(filters)) for event in log]
    names = [name for name in reads_of(of) if isinstance(name, str)]
    assert body
    result = state.fold(
        len(PERSONS),
        np.array([PERSONS.index(event.person) for event in log], np.int32),
        np.array([event.at for event in log], np.int64),
        np.array(masks, np.uint32),
        np.arange(offset, offset + len(log)),
        [DictionaryColumn.of(event.properties.get(name) for event in log) for name in names],
    )
    return result.changes


def asked(of: Prediction, log: Sequence[Event], cuts: Sequence[int], **limits: int) -> Asked:
    state = PredictionState(of, **limits)
    changes = []
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        changes.append(feed(state, of, log[begin:end], begin))
    return Asked(
        [change.questions for change in changes],
        [change.outcomes for change in changes],
        sum(change.capped for change in changes),
        sum(change.late_triggers for change in changes),
    )


def joined(parts: Sequence[Any]) -> list[Any]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    span = draw(st.sampled_from([60_000, 3_600_000, 10 * 86_400_000, 400 * 86_400_000]))
    numbers = st.one_of(st.integers(-100, 100), st.floats(-1e5, 1e5), st.just("text"))
    properties = st.dictionaries(st.sampled_from(["price", "size"]), numbers, max_size=2)
    event = st.builds(
        Event,
        st.sampled_from(PERSONS),
        st.sampled_from(NAMES),
        st.integers(NOON - span, NOON),
        properties,
    )
    log = draw(st.lists(event, min_size=1, max_size=25))
    if draw(st.booleans()):
        log.sort(key=lambda event: event.at)
    return log


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.sampled_from(["performs", "value"]))
def test_questions_features_and_outcomes_are_those_of_the_formulas(
    log: list[Event], target: str
) -> None:
    more = {"value": "price"} if target == "value" else {}
    of = prediction(target=target, **more)
    body = {**BODY, "target": target, **more}
    found = asked(of, log, [])
    expected = oracle.asked(body, log)
    (questions,), (emitted,) = found.questions, found.outcomes
    assert questions.offsets.tolist() == [question.place for question in expected]
    assert questions.at.tolist() == [question.at for question in expected]
    for features, question in zip(questions.features, expected, strict=True):
        described = dict(zip(features_of(of), features.tolist(), strict=True))
        assert described == pytest.approx(question.features, rel=1e-5, abs=1e-6)
    known = {outcome.place: outcome for outcome in oracle.outcomes(body, log)}
    for offset, at, value, clock in zip(*(column.tolist() for column in emitted[1:]), strict=True):
        outcome = known[offset]
        assert (at, value) == (outcome.at, outcome.value)
        assert outcome.clock is None or clock == outcome.clock
    # No outcome that answers a question is left out.
    missing = [known[place] for place in known.keys() - set(emitted.offsets.tolist())]
    for outcome in missing:
        assert not any(
            question.person == outcome.person
            and question.place < outcome.place
            and question.at <= outcome.at <= question.at + 1_000 * body["within_s"]
            for question in expected
        )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_cutting_a_log_into_other_batches_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(log) - 1)), max_size=5)))
    cuts = [cut for cut in cuts if cut < len(log)]
    of, limits = prediction(), {"max_open": data.draw(st.sampled_from([1, 3, 1_000]))}
    whole, parts = asked(of, log, [], **limits), asked(of, log, cuts, **limits)
    for before, after in zip(
        joined(whole.questions) + joined(whole.outcomes),
        joined(parts.questions) + joined(parts.outcomes),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    assert whole[2:] == parts[2:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_a_state_that_was_logged_at_any_point_goes_on_as_if_nothing_had_been(
    log: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    of = prediction()
    state = PredictionState(of, 2)
    feed(state, of, log[:cut])
    rows = np.arange(state.size, dtype=np.int32)
    restored = PredictionState(of, 2)
    restored.unpack(len(PERSONS), state.persons_of(rows), state.pack(rows, cut))
    again = data.draw(st.integers(0, cut))
    feed(restored, of, log[again:cut], again)  # changes nothing: the rows hold these events
    restored.load_open_questions(state.open_questions)
    restored.restored(state.clock)
    expected, found = feed(state, of, log[cut:], cut), feed(restored, of, log[cut:], cut)
    persons = [restored.persons_of(found.questions.rows), state.persons_of(expected.questions.rows)]
    assert persons[0].tolist() == persons[1].tolist()
    for before, after in zip(expected.questions[1:], found.questions[1:], strict=True):
        np.testing.assert_array_equal(before, after)
    assert expected[2:] == found[2:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.sampled_from(PERSONS))
def test_the_numbers_of_a_person_depend_on_the_events_of_that_person_alone(
    log: list[Event], person: str
) -> None:
    rows = []
    own = [event for event in log if event.person == person]
    for events in (log, own):
        state = PredictionState(prediction(), 2)
        if events:
            feed(state, prediction(), events)
        row = int(state.row_of[PERSONS.index(person)]) if len(state.row_of) else -1
        rows.append([] if row < 0 else state.words[row].tolist())
    assert rows[0] == rows[1]


def test_a_goal_at_the_last_millisecond_is_emitted_and_one_later_is_not() -> None:
    of = prediction()
    log = [
        Event("ana", "view", NOON),
        Event("ana", "buy", NOON + 1_800_000),
        Event("bo", "view", NOON),
        Event("bo", "buy", NOON + 1_800_001),
    ]
    (emitted,) = asked(of, log, []).outcomes
    assert emitted.offsets.tolist() == [1]


def test_no_more_questions_are_open_than_the_cap_and_what_is_capped_is_counted() -> None:
    of = prediction()
    log = [Event("ana", "view", NOON + second * 1_000) for second in range(10)]
    later = [Event("ana", "view", NOON + 86_400_000)]
    found = asked(of, log + later, [], max_open=4)
    assert found.questions[0].offsets.tolist() == [0, 1, 2, 3, 10]
    assert found.capped == 6


def test_an_event_older_than_the_newest_of_its_person_asks_nothing_and_is_counted() -> None:
    found = asked(prediction(), [Event("ana", "view", NOON), Event("ana", "view", NOON - 1)], [])
    assert found.questions[0].offsets.tolist() == [0]
    assert found.late == 1


def test_features_are_chosen_by_name_and_cut_off() -> None:
    of = prediction(features=["property_last", "recency"], clip=5)
    log = [Event("ana", "view", NOON, {"size": 77}), Event("ana", "view", NOON + 1_000)]
    (questions,) = asked(of, log, []).questions
    assert features_of(of) == ("recency", "property_last")
    assert questions.features.tolist() == [[0.0, 5.0], [np.float32(math.log(2)), 5.0]]
    assert set(features_of(of)) < set(all_features_of(of))


def test_the_sample_is_chosen_by_the_ids_of_events_whatever_the_batch() -> None:
    of = prediction(sample=0.25)
    ids = [str(uuid.UUID(int=n)) for n in range(2_000)]
    selections = [Selection(KEY, selectors_of(of), reads_of(of))]

    def offsets(begins: Sequence[int]) -> list[int]:
        state, found = PredictionState(of), []
        for begin, end in itertools.pairwise(begins):
            count = end - begin
            column = StringColumn.of(pa.array(ids[begin:end]))
            names = StringColumn.of(pa.array(["view"] * count))
            shop = StringColumn.of(pa.array(["shop"] * count))
            match = Matcher(selections).match(shop, names, pa.array(["{}"] * count), column)
            rows, masks, values = match.matches[KEY]
            at = NOON + 1_000 * (begin + rows)
            slots = np.zeros(count, np.int32)
            changes = state.fold(1, slots, at, masks, begin + rows, values).changes
            found += changes.questions.offsets.tolist()
        return found

    whole = offsets([0, 2_000])
    assert offsets([0, 1, 700, 2_000]) == whole
    assert 400 < len(whole) < 600
