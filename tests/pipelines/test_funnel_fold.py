"""A plain funnel counts what its definition says, in whatever order events come."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.operator import FoldResult, Packed
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.sequence import SequenceShape, SequenceState
from pipelines.operators.sequence.columns import MAX_TAIL
from schemas.sketches.durations import sketch_of
from tests.oracles.funnel import FoldResult as Expected
from tests.oracles.funnel import Happening, fold
from tests.oracles.funnel_options import DAY_MS

NOON = 20_000 * DAY_MS + DAY_MS // 2
HOUR_MS = 3_600_000
PERSONS = 3


class Event(NamedTuple):
    """A person (by slot), a time and the steps that the event satisfies."""

    person: int
    at: int
    mask: int


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[Event]]:
    """A number of steps, a window and events, with many ties."""
    steps = draw(st.integers(2, 4))
    window = draw(st.sampled_from([1, 7, 1_000, HOUR_MS, DAY_MS, 3 * DAY_MS, 30 * DAY_MS]))
    span = draw(st.sampled_from([10, 2_000, 5 * DAY_MS]))
    event = st.builds(
        Event,
        st.integers(0, PERSONS - 1),
        st.integers(NOON, NOON + span),
        st.integers(1, 2**steps - 1),
    )
    return steps, window, draw(st.lists(event, min_size=1, max_size=40))


def run(
    shape: SequenceShape, events: list[Event], batch: int
) -> tuple[SequenceState, FunnelAggregates]:
    state, aggregates = SequenceState(shape), FunnelAggregates(shape.steps)
    for begin in range(0, len(events), batch):
        aggregates.apply(feed(state, events[begin : begin + batch], begin).changes)
    return state, aggregates


def feed(state: SequenceState, events: list[Event], offset: int = 0) -> FoldResult[ValuedChanges]:
    return state.fold(
        PERSONS,
        np.array([event.person for event in events], np.int32),
        np.array([event.at for event in events], np.int64),
        np.array([event.mask for event in events], np.uint32),
        np.arange(offset, offset + len(events)),
    )


def expected(steps: int, window: int, events: list[Event]) -> Expected:
    happenings = [
        Happening(
            str(event.person),
            event.at,
            [step + 1 for step in range(steps) if event.mask >> step & 1],
        )
        for event in events
    ]
    return fold(happenings, steps, window)


def assert_equal(aggregates: FunnelAggregates, expected_fold: Expected) -> None:
    assert aggregates.reached(TOTAL) == expected_fold.totals
    for day, of_day in expected_fold.days.items():
        assert aggregates.reached(day) == of_day.reached
        for sketch, times in zip(aggregates.times(day), of_day.times, strict=True):
            right = sketch_of(np.array(times, np.int64))
            assert sketch.sum_ms == right.sum_ms
            assert sketch.buckets.tolist() == right.buckets.tolist()
            assert sketch.counts.tolist() == right.counts.tolist()
    assert set(aggregates) - {TOTAL} <= set(expected_fold.days)


def rows_of(state: SequenceState) -> list[bytes]:
    """All rows as they are logged, in the order of persons."""
    present = [row for row in state.row_of.tolist() if row != NONE]
    data, begins, ends = state.pack(np.array(present, np.int32), 0)
    return [data[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.integers(1, 50))
def test_the_fold_equals_the_definition_in_any_order_of_arrival(
    history: tuple[int, int, list[Event]], batch: int
) -> None:
    steps, window, events = history
    _, aggregates = run(SequenceShape(steps, window, 40 * DAY_MS), events, batch)
    assert_equal(aggregates, expected(steps, window, events))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.integers(1, 7), st.sampled_from([0, 5, HOUR_MS, DAY_MS]))
def test_the_state_does_not_depend_on_where_batches_end(
    history: tuple[int, int, list[Event]], batch: int, lateness: int
) -> None:
    steps, window, events = history
    shape = SequenceShape(steps, window, lateness)
    one, in_one = run(shape, events, len(events))
    many, in_many = run(shape, events, batch)
    assert rows_of(one) == rows_of(many)
    assert in_one.reached(TOTAL) == in_many.reached(TOTAL)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.sampled_from([0, HOUR_MS, 10 * DAY_MS]), st.data())
def test_a_row_that_was_logged_continues_as_if_nothing_had_happened(
    history: tuple[int, int, list[Event]], lateness: int, data: st.DataObject
) -> None:
    steps, window, events = history
    cut = data.draw(st.integers(0, len(events)))
    shape = SequenceShape(steps, window, lateness)
    whole, _ = run(shape, events, len(events))
    before = SequenceState(shape)
    if cut:
        feed(before, events[:cut])
    present = [row for row in before.row_of.tolist() if row != NONE]
    packed = before.pack(np.array(present, np.int32), cut)
    after = SequenceState(shape)
    after.unpack(PERSONS, before.rows["slot"][present], packed)
    # As when a partition is restored, the rows contain some of the events already.
    feed(after, events)
    assert rows_of(after) == rows_of(whole)


def test_an_event_later_than_the_lateness_is_counted_and_left_out() -> None:
    state = SequenceState(SequenceShape(2, HOUR_MS, 1_000))
    folded = feed(state, [Event(0, NOON, 1), Event(0, NOON - 1_001, 1), Event(0, NOON - 1_000, 1)])
    assert folded.late == 1


def test_a_person_with_more_events_than_the_tail_holds_is_still_counted_right() -> None:
    events = [Event(0, NOON + place, 1 + place % 2) for place in range(3 * MAX_TAIL)]
    _, aggregates = run(SequenceShape(2, HOUR_MS, DAY_MS), events, 500)
    assert aggregates.reached(TOTAL) == [1, 1]
    assert aggregates.times(NOON // DAY_MS)[1].sum_ms == 1


def test_a_window_that_closes_is_announced_once() -> None:
    state = SequenceState(SequenceShape(3, HOUR_MS, 0))
    feed(state, [Event(0, NOON, 1), Event(0, NOON + 5, 2)])
    assert state.expire(NOON + HOUR_MS) is None
    expired = state.expire(NOON + HOUR_MS + 1)
    assert expired is not None
    changes = expired.timeouts
    assert changes is not None
    assert (changes["step"].tolist(), changes["at"].tolist()) == ([1], [NOON + HOUR_MS])
    again = state.expire(NOON + HOUR_MS + 2)
    assert again is None or again.timeouts is None or (again.timeouts["step"] == NONE).all()


def test_a_day_that_can_no_longer_change_is_freed_and_stays_counted() -> None:
    state = SequenceState(SequenceShape(2, HOUR_MS, HOUR_MS))
    feed(state, [Event(0, NOON, 1), Event(0, NOON + 5, 2)])
    feed(state, [Event(0, NOON + 2 * DAY_MS, 2)])
    assert state.rows[0]["newest_entry"] == NONE
    assert state.rows[0]["closed_level"] == 2


def test_history_in_order_of_time_is_never_late_however_far_time_has_gone() -> None:
    state = SequenceState(SequenceShape(2, HOUR_MS, 0))
    aggregates = FunnelAggregates(2)
    for day in range(80):
        begun = NOON + day * DAY_MS
        for event in (Event(0, begun, 1), Event(0, begun + 5, 2)):
            folded = feed(state, [event])
            aggregates.apply(folded.changes)
            assert folded.late == 0
            state.expire(NOON + 100 * DAY_MS)
    assert [aggregates.reached(NOON // DAY_MS + day) for day in range(80)] == [[1, 1]] * 80


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    state = SequenceState(SequenceShape(2, HOUR_MS, 0))
    for row in (b"\x09", b"", b"\x01\x02"):
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        with pytest.raises(ValueError, match="layout"):
            state.unpack(1, np.zeros(1, np.int32), packed)


def test_a_person_with_very_many_events_does_not_take_more_room_with_every_batch() -> None:
    steps, days = 3, 5
    state = SequenceState(SequenceShape(steps, 3 * DAY_MS, 7 * DAY_MS))
    at = np.arange(3 * MAX_TAIL, dtype=np.int64) * (days * DAY_MS // (3 * MAX_TAIL))
    first = np.ones(1, np.uint32)
    for number, when in enumerate(at.tolist()):
        state.fold(1, np.zeros(1, np.int32), np.full(1, when), first, np.full(1, number))
    assert len(state.changes) <= 4 * steps * (MAX_TAIL + days + 2)
    assert len(state.timers) <= 2 * days
