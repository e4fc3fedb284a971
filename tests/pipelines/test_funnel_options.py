"""A funnel with options counts what its definition says, in whatever order events come."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.operator import FoldResult, Packed
from pipelines.matching.value_hash import fingerprints
from pipelines.operators.funnel.attempt_aggregates import AttemptAggregates
from pipelines.operators.funnel.columns import CLOSED, MAX_EVENTS
from pipelines.operators.funnel.rules import rules_of
from pipelines.operators.funnel.state import FunnelState
from schemas.operators.funnel import Breakdown, Exclusion, Funnel, Order, Step
from schemas.sketches.durations import sketch_of
from tests.oracles import funnel as plain_funnel
from tests.oracles.events import Json
from tests.oracles.funnel_options import DAY_MS, Figures, Happening, OfValue, fold
from tests.oracles.values import NOT_SET, name_of, name_of_shown

NOON = 20_000 * DAY_MS + DAY_MS // 2
HOUR_MS = 3_600_000
PERSONS = 2
ORDERS: list[Order] = ["ordered", "strict", "any"]


class Event(NamedTuple):
    """A person (by slot), a time, the selectors that match, and the value that it has set."""

    person: int
    at: int
    mask: int
    value: Any = None


class Case(NamedTuple):
    funnel: Funnel
    events: list[Event]


@st.composite
def funnels(draw: st.DrawFn, steps: int, windows_s: Sequence[int]) -> Funnel:
    """A funnel of some steps whose names are 0, 1 and so on; exclusions follow."""
    order: Order = draw(st.sampled_from(ORDERS))
    optional = [False, *(order != "any" and draw(st.booleans()) for _ in range(steps - 1))]
    excluded = draw(st.lists(st.tuples(st.integers(1, steps - 1), st.integers(1, 3)), max_size=2))
    return Funnel(
        steps=tuple(Step(str(number), optional=of) for number, of in enumerate(optional)),
        window_s=draw(st.sampled_from(windows_s)),
        order=order,
        exclusions=tuple(
            Exclusion(
                str(steps + number),
                after=after,
                before=draw(st.sampled_from([None, after + 1, min(steps, after + length)])),
            )
            for number, (after, length) in enumerate(excluded)
        ),
        once=draw(st.booleans()),
        hold_constant=draw(st.sampled_from([(), (), ("plan",)])),
        entries=draw(st.booleans()),
        breakdown=draw(st.sampled_from([None, "first", "last", 1, 2]).map(_breakdown)),
    )


def _breakdown(attribution: Any) -> Breakdown | None:
    return None if attribution is None else Breakdown("plan", attribution)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A funnel and events, with many ties."""
    steps = draw(st.integers(2, 4))
    funnel = draw(funnels(steps, [1, 3_600, 86_400, 3 * 86_400]))
    selectors = steps + len(funnel.exclusions)
    singly = st.integers(0, selectors - 1).map(lambda selector: 1 << selector)
    event = st.builds(
        Event,
        st.integers(0, PERSONS - 1),
        st.integers(NOON, NOON + draw(st.sampled_from([10, 4_000, 5 * DAY_MS]))),
        st.one_of(
            singly, singly, st.integers(0 if funnel.order == "strict" else 1, 2**selectors - 1)
        ),
        st.sampled_from([None, None, 1, "a"]),
    )
    return Case(funnel, draw(st.lists(event, min_size=1, max_size=30)))


def run(case: Case, lateness: int, batch: int) -> tuple[FunnelState, AttemptAggregates]:
    state = FunnelState(rules_of(case.funnel, lateness))
    aggregates = AttemptAggregates(len(case.funnel.steps), entries=case.funnel.entries)
    for begin in range(0, len(case.events), batch):
        folded = feed(state, case.funnel, case.events[begin : begin + batch], begin)
        aggregates.apply(folded.changes)
    return state, aggregates


def feed(
    state: FunnelState, funnel: Funnel, events: Sequence[Event], offset: int = 0
) -> FoldResult[ValuedChanges]:
    any_event = 1 << len(funnel.steps) + len(funnel.exclusions) if funnel.order == "strict" else 0
    return state.fold(
        PERSONS,
        np.array([event.person for event in events], np.int32),
        np.array([event.at for event in events], np.int64),
        np.array([event.mask | any_event for event in events], np.uint32),
        np.arange(offset, offset + len(events)),
        [fingerprints([[event.value for event in events]])]
        * (bool(funnel.hold_constant) + bool(funnel.breakdown)),
    )


def happening(funnel: Funnel, event: Event) -> Happening:
    steps, exclusions = len(funnel.steps), len(funnel.exclusions)
    return Happening(
        str(event.person),
        event.at,
        frozenset(step for step in range(1, steps + 1) if event.mask >> step - 1 & 1),
        frozenset(n for n in range(1, exclusions + 1) if event.mask >> steps + n - 1 & 1),
        (name_of(event.value),) if funnel.hold_constant else (),
        name_of(event.value) if funnel.breakdown else NOT_SET,
    )


def body_of(funnel: Funnel) -> Json:
    """The funnel as an oracle reads it."""
    body: Json = msgspec.to_builtins(funnel)
    return body


def expected(case: Case) -> Figures:
    return fold(body_of(case.funnel), [happening(case.funnel, event) for event in case.events])


def assert_equal(funnel: Funnel, aggregates: AttemptAggregates, expected: Figures) -> None:
    assert aggregates.reached(TOTAL) == expected.reached
    assert aggregates.entries(TOTAL) == expected.entries
    for day, of_day in expected.days.items():
        assert aggregates.reached(day) == of_day.reached
        assert aggregates.entries(day) == of_day.entries
        for sketch, times in zip(aggregates.times(day), of_day.times, strict=True):
            right = sketch_of(np.array(times, np.int64))
            assert sketch.sum_ms == right.sum_ms
            assert sketch.buckets.tolist() == right.buckets.tolist()
            assert sketch.counts.tolist() == right.counts.tolist()
    if funnel.breakdown:
        assert values_of(aggregates, TOTAL) == expected.values
        assert {
            (day, value): counts
            for day in expected.days
            for value, counts in values_of(aggregates, day).items()
        } == expected.values_by_day
    assert {day for day in aggregates if sum(aggregates.reached(day))} <= {TOTAL, *expected.days}


def values_of(aggregates: AttemptAggregates, day: int) -> dict[str, OfValue]:
    found = {}
    for one in aggregates.breakdown(day):
        key = name_of_shown(one["value"])
        found[key] = OfValue(one["reached"], one["entries"])
    return {key: counts for key, counts in found.items() if any(counts.reached)}


def rows_of(state: FunnelState) -> list[bytes]:
    """All rows as they are logged, in the order of persons."""
    present = [row for row in state.row_of.tolist() if row != NONE]
    data, begins, ends = state.pack(np.array(present, np.int32), 0)
    return [data[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.integers(1, 40))
def test_the_fold_equals_the_definition_in_any_order_of_arrival(case: Case, batch: int) -> None:
    _, aggregates = run(case, 40 * DAY_MS, batch)
    assert_equal(case.funnel, aggregates, expected(case))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.integers(1, 7))
def test_days_that_are_closed_stay_counted(case: Case, batch: int) -> None:
    later, last = NOON + 40 * DAY_MS, 1 << len(case.funnel.steps) - 1
    events = sorted(case.events, key=lambda event: event.at)
    events += [Event(person, later, last) for person in range(PERSONS)]
    ordered = case._replace(events=events)
    state, aggregates = run(ordered, 0, batch)
    assert_equal(case.funnel, aggregates, expected(ordered))
    for row in range(state.size):
        block, length = int(state.rows[row]["block"]), int(state.rows[row]["length"])
        kept = state.tail["at"][block : block + length]
        assert ((kept == CLOSED) | (kept == later)).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.integers(1, 7), st.sampled_from([0, 5, HOUR_MS, DAY_MS]))
def test_the_state_does_not_depend_on_where_batches_end(
    case: Case, batch: int, lateness: int
) -> None:
    one, in_one = run(case, lateness, len(case.events))
    many, in_many = run(case, lateness, batch)
    assert rows_of(one) == rows_of(many)
    assert in_one.reached(TOTAL) == in_many.reached(TOTAL)
    assert in_one.entries(TOTAL) == in_many.entries(TOTAL)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from([0, HOUR_MS, 10 * DAY_MS]), st.data())
def test_a_row_that_was_logged_continues_as_if_nothing_had_happened(
    case: Case, lateness: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(case.events)))
    whole, aggregates = run(case, lateness, len(case.events))
    before, counted = run(case._replace(events=case.events[:cut]), lateness, max(cut, 1))
    present = np.array([row for row in before.row_of.tolist() if row != NONE], np.int32)
    packed = before.pack(present, cut)
    after = FunnelState(rules_of(case.funnel, lateness))
    after.unpack(PERSONS, before.rows["slot"][present], packed)
    # As when a partition is restored, the rows contain some of the events already.
    counted.apply(feed(after, case.funnel, case.events).changes)
    assert rows_of(after) == rows_of(whole)
    assert counted.reached(TOTAL) == aggregates.reached(TOTAL)
    after.restored()
    copy = FunnelState(rules_of(case.funnel, lateness))
    copy.load(after.dump(), len(case.events))
    copy.restored()
    end = NOON + 40 * DAY_MS
    assert _expired(copy, end) == _expired(after, end)
    assert rows_of(copy) == rows_of(after)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), st.sampled_from(["ordered", "strict"]), st.data())
def test_events_of_one_moment_are_resolved_alike_whatever_steps_follow(
    case: Case, order: Any, data: st.DataObject
) -> None:
    steps = tuple(Step(step.event) for step in case.funnel.steps)
    whole = replace(case.funnel, steps=steps, order=order, exclusions=(), breakdown=None)
    count = data.draw(st.integers(2, len(steps)))
    first = replace(whole, steps=steps[:count])
    of_whole = [event._replace(mask=event.mask % 2 ** len(steps)) for event in case.events]
    of_first = [event._replace(mask=event.mask % 2**count) for event in case.events]
    _, in_whole = run(Case(whole, of_whole), 40 * DAY_MS, 7)
    _, in_first = run(Case(first, of_first), 40 * DAY_MS, 7)
    assert in_first.reached(TOTAL) == in_whole.reached(TOTAL)[:count]
    assert in_first.entries(TOTAL) == in_whole.entries(TOTAL)[:count]


def _expired(state: FunnelState, now: int) -> list[Any]:
    expired = state.expire(now)
    return [] if expired is None or expired.timeouts is None else expired.timeouts.tolist()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_without_options_it_is_the_plain_funnel(case: Case) -> None:
    steps = len(case.funnel.steps)
    plain = Funnel(
        steps=tuple(Step(step.event) for step in case.funnel.steps), window_s=case.funnel.window_s
    )
    events = [event._replace(mask=event.mask % 2**steps) for event in case.events]
    found = fold(body_of(plain), [happening(plain, event) for event in events])
    other = plain_funnel.fold(
        [
            plain_funnel.Happening(str(event.person), event.at, _steps(event, steps))
            for event in events
        ],
        steps,
        1_000 * plain.window_s,
    )
    assert found.reached == other.totals
    assert {day: aggregates[:2] for day, aggregates in found.days.items()} == other.days


def _steps(event: Event, steps: int) -> list[int]:
    return [step + 1 for step in range(steps) if event.mask >> step & 1]


# ── each rule by itself ──────────────────────────────────────────────────────────────────────────


def reached(
    funnel: dict[str, Any], *events: str, steps: int = 3, apart_ms: int = 1_000
) -> list[int]:
    """Which steps a person reaches whose events, a second apart, are `events`.

    An event is the steps it satisfies, `x` for an exclusion, and what it has set.
    """
    options: dict[str, Any] = {"steps": tuple(Step(str(n)) for n in range(steps)), "window_s": 60}
    one = Funnel(**(options | funnel))
    case = Case(
        one,
        [
            Event(
                0,
                NOON + apart_ms * place,
                sum(1 << int(sign) - 1 for sign in event if sign.isdigit())
                | (1 << steps if "x" in event else 0),
                "".join(sign for sign in event if sign.isalpha() and sign != "x") or None,
            )
            for place, event in enumerate(events)
        ],
    )
    _, aggregates = run(case, 0, 1)
    assert_equal(one, aggregates, expected(case))
    return aggregates.entries(TOTAL) if one.entries else aggregates.reached(TOTAL)


STRICT = {"order": "strict"}
ANY = {"order": "any"}
EXCLUDE: dict[str, Any] = {"exclusions": (Exclusion("x", after=1, before=2),)}
HELD: dict[str, Any] = {"hold_constant": ("plan",)}
ONCE: dict[str, Any] = {"once": True}
ENTRIES: dict[str, Any] = {"entries": True}


@pytest.mark.parametrize(
    ("funnel", "events", "expected"),
    [
        (STRICT, ["1", "2", "3"], [1, 1, 1]),
        (STRICT, ["1", "", "2", "3"], [1, 0, 0]),  # something else came between
        (STRICT, ["1", "2", "2", "3"], [1, 1, 0]),  # so did the second step again
        (STRICT, ["1", "", "1", "2", "3"], [1, 1, 1]),  # the next entry has its own chance
        (ANY, ["3", "1", "2"], [1, 1, 1]),
        (ANY, ["3", "3", "1"], [1, 1, 0]),  # the same step twice is one
        (ANY, ["", "2"], [1, 0, 0]),
        (EXCLUDE, ["1", "x", "2", "3"], [1, 0, 0]),
        (EXCLUDE, ["1", "2", "x", "3"], [1, 1, 1]),  # not between the two
        (EXCLUDE, ["1", "x", "1", "2"], [1, 1, 0]),  # the person starts again
        (EXCLUDE, ["1", "2x", "3"], [1, 1, 1]),  # it is the step, so it does not lie before it
        (EXCLUDE | HELD, ["1a", "xb", "2a"], [1, 1, 0]),  # of another value, it ends nothing
        (EXCLUDE | HELD, ["1a", "1b", "xb", "2a", "2b"], [1, 1, 0]),
        (EXCLUDE | HELD, ["1a", "xa", "2a"], [1, 0, 0]),
        (EXCLUDE | HELD, ["1a", "x", "2a"], [1, 1, 0]),  # not set is another value
        ({"once": True}, ["12", "3"], [1, 0, 0]),
        ({"once": True}, ["12", "12", "3"], [1, 1, 1]),
        ({}, ["12", "3"], [1, 1, 1]),
        (HELD, ["1a", "2b", "2a", "3b"], [1, 1, 0]),
        (HELD, ["1", "2", "3a"], [1, 1, 0]),  # not set is a value too
        ({"entries": True}, ["1", "1", "2", "3", "1"], [3, 2, 2]),
        (STRICT | {"entries": True}, ["1", "1", "2", "3", "1"], [3, 1, 1]),
    ],
)
def test_a_rule_by_itself(funnel: dict[str, Any], events: list[str], expected: list[int]) -> None:
    assert reached(funnel, *events) == expected


@pytest.mark.parametrize(
    ("funnel", "events", "expected"),
    [
        ({}, ["13", "2"], [1, 1, 1]),
        (ENTRIES, ["2", "13", "1"], [2, 2, 2]),
        (ONCE, ["13", "2"], [1, 1, 0]),
        (ONCE, ["13", "2", "3"], [1, 1, 1]),
        (ONCE, ["23", "2", "1"], [1, 1, 1]),  # the event that can be the third step is left for it
        (STRICT, ["3", "13", "2"], [1, 1, 1]),
        (STRICT | ONCE, ["13", "", "2"], [1, 1, 0]),
        (ANY | ONCE, ["12", "2", "2"], [1, 1, 0]),
        (ANY, ["123", "2"], [1, 1, 1]),
        (EXCLUDE, ["1", "x", "2"], [1, 1, 0]),  # the moment at which the attempt begins
    ],
)
def test_the_steps_of_one_moment(
    funnel: dict[str, Any], events: list[str], expected: list[int]
) -> None:
    assert reached(funnel, *events, apart_ms=0) == expected


OPTIONAL = {"steps": (Step("0"), Step("1", optional=True), Step("2"))}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["1", "2", "3"], [1, 1, 1]),
        (["1", "3"], [1, 0, 1]),
        (["1", "3", "2"], [1, 0, 1]),  # too late for the attempt
        (["1", "2"], [1, 1, 0]),
    ],
)
def test_an_optional_step_may_be_left_out(events: list[str], expected: list[int]) -> None:
    assert reached(OPTIONAL, *events) == expected


def test_in_any_order_an_event_of_any_step_starts_an_attempt() -> None:
    funnel = Funnel((Step("a"), Step("b")), window_s=3_600, order="any")
    case = Case(funnel, [Event(0, NOON, 2), Event(0, NOON + DAY_MS, 1)])
    _, aggregates = run(case, 0, 1)
    assert [aggregates.reached(NOON // DAY_MS + day) for day in (0, 1)] == [[1, 0], [1, 0]]


def test_a_person_keeps_a_limited_number_of_events_and_the_rest_is_counted_as_late() -> None:
    funnel = Funnel((Step("a"), Step("b")), once=True)
    state = FunnelState(rules_of(funnel, 0))
    events = [Event(0, NOON + place, 2) for place in range(MAX_EVENTS + 3)]
    assert feed(state, funnel, events).late == 3
    assert feed(state, funnel, [Event(0, NOON + 9 * DAY_MS, 1)]).late == 0


def test_a_window_that_closes_is_announced_once() -> None:
    funnel = Funnel((Step("a"), Step("b"), Step("c")), window_s=3_600, once=True)
    state = FunnelState(rules_of(funnel, 0))
    feed(state, funnel, [Event(0, NOON, 1), Event(0, NOON + 5, 2)])
    assert state.expire(NOON + HOUR_MS) is None
    expired = state.expire(NOON + HOUR_MS + 1)
    assert expired is not None
    changes = expired.timeouts
    assert changes is not None
    assert (changes["step"].tolist(), changes["at"].tolist()) == ([1], [NOON + HOUR_MS])
    again = state.expire(NOON + HOUR_MS + 2)
    assert again is None or again.timeouts is None or (again.timeouts["step"] == NONE).all()


def test_history_in_order_of_time_is_never_late_however_far_time_has_gone() -> None:
    funnel = Funnel((Step("a"), Step("b")), window_s=3_600, once=True)
    state, aggregates = FunnelState(rules_of(funnel, 0)), AttemptAggregates(2, entries=False)
    for day in range(80):
        act = NOON + day * DAY_MS
        folded = feed(state, funnel, [Event(0, act, 1), Event(0, act + HOUR_MS, 2)])
        aggregates.apply(folded.changes)
        assert folded.late == 0
        state.expire(NOON + 100 * DAY_MS)
    assert [aggregates.reached(NOON // DAY_MS + day) for day in range(80)] == [[1, 1]] * 80


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    state = FunnelState(rules_of(Funnel((Step("a"), Step("b")), once=True), 0))
    for row in (b"\x09", b"", b"\x01\x02"):
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        with pytest.raises(ValueError, match="layout"):
            state.unpack(1, np.zeros(1, np.int32), packed)
