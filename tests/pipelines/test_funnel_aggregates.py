"""Aggregates of funnels: changes counted in one pass amount to what is true at the end."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.sequence import STEP_CHANGE
from schemas.sketches.durations import EDGES, Sketch, sketch_of

STEPS = 3

times = st.integers(0, 2**62) | st.sampled_from(EDGES.tolist()) | st.integers(0, 1_000)
steps = st.tuples(st.integers(0, 40) | st.just(TOTAL), st.integers(0, STEPS - 1))
reached = st.dictionaries(steps, st.lists(times, max_size=3), max_size=30)


def changes(*rows: tuple[int, int, int, int]) -> ValuedChanges:
    """Of a day and a step: the time before, and the time after."""
    found = np.zeros(len(rows), STEP_CHANGE)
    for row, (found["day"][row], found["step"][row], before, after) in enumerate(rows):
        found["before"][row], found["after"][row] = before, after
    return ValuedChanges(found)


def equal(one: Sketch, other: Sketch) -> bool:
    return (one.buckets.tolist(), one.counts.tolist(), one.sum_ms) == (
        other.buckets.tolist(),
        other.counts.tolist(),
        other.sum_ms,
    )


@given(reached, reached)
@example({}, {(0, 0): [2**63 - 1]})
def test_aggregates_reflect_what_is_true_now(
    first: dict[tuple[int, int], list[int]], then: dict[tuple[int, int], list[int]]
) -> None:
    """Persons reach steps, and then all of it is taken back for something else."""
    aggregates = FunnelAggregates(STEPS)
    came = [(*step, NONE, at) for step, found in first.items() for at in found]
    went = [(day, step, at, NONE) for day, step, _, at in came]
    aggregates.apply(changes(*came))
    differ = aggregates.apply(
        changes(*went, *((*step, NONE, at) for step, found in then.items() for at in found))
    )
    assert differ == {day for day, *_ in came} | {day for (day, _), found in then.items() if found}
    for day in differ:
        found = [then.get((day, step), []) for step in range(STEPS)]
        assert aggregates.reached(day) == list(map(len, found))
        if day != TOTAL:
            right = [sketch_of(np.array(at, np.int64)) for at in found]
            assert all(map(equal, aggregates.times(day), right))


@given(st.lists(times, min_size=1, max_size=9), st.integers(1, 9))
def test_the_shortest_and_the_longest_time_are_known(counted: list[int], batch: int) -> None:
    aggregates = FunnelAggregates(1)
    for begin in range(0, len(counted), batch):
        aggregates.apply(changes(*((7, 0, NONE, at) for at in counted[begin : begin + batch])))
    (found,) = aggregates.times(7)
    assert (found.min_ms, found.max_ms) == (min(counted), max(counted))


def test_a_time_that_changes_within_its_bucket_changes_the_sum() -> None:
    aggregates = FunnelAggregates(2)
    aggregates.apply(changes((7, 1, NONE, 1)))
    assert aggregates.apply(changes((7, 1, 1, 0))) == {7}
    assert aggregates.reached(7) == [0, 1]
    assert equal(aggregates.times(7)[1], sketch_of(np.zeros(1, np.int64)))
