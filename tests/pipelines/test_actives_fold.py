"""Active persons are counted as the definition says, in whatever order events come."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Packed
from pipelines.operators.metric.active_aggregates import ActiveAggregates
from pipelines.operators.metric.instance import ActiveInstance
from schemas.operators.metric import ACTIVE_S, KEPT, MAX_LATE_BUCKETS, WINDOWS, BucketLength
from services.query.operators.metric.aggregates import active_in
from tests.oracles.metric import Act, active, persons
from tests.pipelines.test_metric_fold import (
    DAY_MS,
    EVER,
    NOON,
    ZONES,
    Case,
    Topic,
    feed,
    minutes,
    start,
)

PERSONS = 4


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Events within the lateness of each other, so that none is late."""
    lengths: list[BucketLength] = [60, 3_600, 86_400]
    bucket_s = draw(st.sampled_from(lengths))
    lateness = 1_000 * bucket_s * draw(st.sampled_from([3, 40, MAX_LATE_BUCKETS]))
    act = st.builds(
        Act,
        st.integers(0, PERSONS - 1),
        st.integers(NOON - lateness, NOON),
        st.just("a"),
        st.none(),
        st.none(),
    )
    zone = draw(st.sampled_from(ZONES))
    return Case(bucket_s, zone, lateness, draw(st.lists(act, min_size=1, max_size=25)))


def counts(instance: ActiveInstance) -> dict[int, list[int]]:
    aggregates = instance.aggregates
    return {number: aggregates.counts(number) for number in aggregates}


def expected(case: Case, acts: list[Act] | None = None) -> dict[int, list[int]]:
    windows = WINDOWS[case.bucket_s]
    return persons(case.acts if acts is None else acts, case.bucket_s, case.timezone, windows)


def active_now(aggregates: ActiveAggregates, as_of: int) -> list[int]:
    whole = aggregates.total_record()
    last = whole["seen_until"] + 1
    seen = dict(zip(range(last - len(whole["seen"]), last), whole["seen"], strict=True))
    return [window.persons for window in active_in(seen, as_of)]


def assert_counted(case: Case, instance: ActiveInstance) -> None:
    assert instance.late == 0
    assert counts(instance) == expected(case)
    newest = max(act.at for act in case.acts)
    for as_of in (newest, newest + 45_000, newest + 1_200_000, newest + 2_000_000):
        assert active_now(instance.aggregates, as_of) == [
            active(case.acts, as_of, seconds) for seconds in ACTIVE_S
        ]


@given(case=cases(), batch=st.integers(1, 25))
@settings(max_examples=50, deadline=None)
def test_the_fold_equals_the_definition_in_any_order_of_arrival(case: Case, batch: int) -> None:
    instance = start(case, "persons")
    for begin in range(0, len(case.acts), batch):
        feed(instance, case.acts[begin : begin + batch], begin)
    assert_counted(case, instance)


@given(case=cases(), lateness=st.sampled_from([0, 70_000, DAY_MS]), batch=st.integers(1, 25))
@settings(max_examples=50, deadline=None)
def test_events_in_order_count_with_any_lateness(case: Case, lateness: int, batch: int) -> None:
    case = case._replace(acts=sorted(case.acts, key=lambda act: act.at), lateness_ms=lateness)
    instance = start(case, "persons")
    for begin in range(0, len(case.acts), batch):
        feed(instance, case.acts[begin : begin + batch], begin)
    assert_counted(case, instance)


@given(case=cases(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_rows_from_the_log_and_aggregates_from_the_topic_continue_as_if_nothing_had_happened(
    case: Case, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(case.acts)))
    logged = data.draw(st.integers(0, cut))
    one, two, topic = start(case, "persons"), start(case, "persons"), Topic()
    if case.acts[:logged]:
        feed(one, case.acts[:logged])
        topic.publish(one)
        rows = np.arange(one.state.size, dtype=np.int32)
        two.state.unpack(PERSONS, one.state.persons_of(rows), one.state.pack(rows, logged))
    if case.acts[logged:cut]:
        feed(one, case.acts[logged:cut], logged)
    topic.publish(one)
    topic.restore(two)
    replay(two, case.acts[:cut])  # the aggregates contain these events already, the rows only some
    two.state.restored()
    if case.acts[cut:]:
        feed(two, case.acts[cut:], cut)
    assert_counted(case, two)


def replay(instance: ActiveInstance, acts: list[Act]) -> None:
    instance.state.fold(
        PERSONS,
        np.array([act.person for act in acts], np.int32),
        np.array([act.at for act in acts], np.int64),
        np.ones(len(acts), np.uint32),
        np.arange(len(acts)),
    )


CASE = Case(60, "UTC", EVER, [])
FIRST = NOON // 60_000


def of(person: int, *at: float) -> list[Act]:
    return [act._replace(person=person) for act in minutes(*((minute, None) for minute in at))]


def test_a_person_counts_once_in_a_window_and_in_all_that_have_one_of_their_buckets() -> None:
    instance = start(CASE, "persons")
    feed(instance, [*of(0, 0, 0.5, 2), *of(1, 2)])
    found = counts(instance)
    assert [found[FIRST + n] for n in (0, 1, 2, 4, 6, 7)] == [
        [1, 1, 1],
        [0, 1, 1],
        [2, 2, 2],
        [0, 2, 2],
        [0, 2, 2],
        [0, 0, 2],
    ]
    assert max(found) == FIRST + 2 + 29


def test_an_event_between_two_others_adds_only_to_windows_that_had_neither() -> None:
    instance = start(CASE, "persons")
    feed(instance, of(0, 0, 8))
    before = counts(instance)
    feed(instance, of(0, 3))
    after = counts(instance)
    differ = {number: after[number] for number in after if after[number] != before.get(number)}
    assert differ == {
        FIRST + 3: [1, 1, 1],
        FIRST + 5: [0, 1, 1],
        FIRST + 6: [0, 1, 1],
        FIRST + 7: [0, 1, 1],
    }


def test_an_event_later_than_the_lateness_before_the_persons_newest_is_left_out() -> None:
    instance = start(CASE._replace(lateness_ms=120_000), "persons")
    feed(instance, [*of(0, 10, 7.9), *of(1, 7.9)])
    assert instance.late == 1
    assert counts(instance)[FIRST + 7] == [1, 1, 1]


def test_persons_are_remembered_for_a_bounded_number_of_buckets() -> None:
    instance = start(CASE, "persons")
    feed(instance, of(0, 200, 200 - MAX_LATE_BUCKETS, 199 - MAX_LATE_BUCKETS))
    assert instance.late == 1
    state: Any = instance.state
    assert state.words.shape[1] == 2


def test_persons_active_now_follow_the_clock_when_no_events_come() -> None:
    instance = start(CASE, "persons")
    feed(instance, [*of(0, 0), *of(1, 0.5)])
    ends = [(30, [2, 2, 2]), (60, [1, 2, 2]), (90, [0, 2, 2]), (301, [0, 1, 2]), (1_830, [0, 0, 0])]
    for seconds, active_then in ends:
        assert active_now(instance.aggregates, NOON + 1_000 * seconds) == active_then


def test_a_person_who_is_active_again_is_not_counted_twice_now() -> None:
    instance = start(CASE, "persons")
    feed(instance, of(0, 0, 2, 1))
    assert active_now(instance.aggregates, NOON + 120_000) == [1, 1, 1]


def test_buckets_that_are_no_longer_kept_are_deleted_from_the_topic() -> None:
    instance, topic = start(CASE._replace(lateness_ms=0), "persons"), Topic()
    feed(instance, of(0, 0))
    topic.publish(instance)
    assert sorted(topic.records) == [TOTAL, *range(FIRST, FIRST + 30)]
    feed(instance, of(0, KEPT + 2))
    topic.publish(instance)
    first, end = FIRST + KEPT + 2, FIRST + KEPT + 32
    assert sorted(topic.records) == [TOTAL, *range(FIRST + 3, FIRST + 30), *range(first, end)]


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    state: Any = start(CASE, "persons").state
    for row in (bytes(state._packed.itemsize), b"", b"\x01\x02"):
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        with pytest.raises(ValueError, match="layout"):
            state.unpack(1, np.zeros(1, np.int32), packed)
