"""The histogram of times: every person in one bin, bins without gaps."""

import datetime
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.sketches.durations import sketch_of
from services.query.operators.funnel.aggregates import DayCounts, FunnelAggregates
from services.query.operators.funnel.times import binned, histogram

times = st.lists(st.one_of(st.integers(0, 300), st.integers(0, 10**10)), min_size=1, max_size=30)


@given(times, st.integers(1, 50))
def test_each_time_is_in_the_one_bin_that_says_so(took: list[int], bins: int) -> None:
    found = binned(sketch_of(np.array(took, np.int64)), bins)
    assert len(found) <= bins
    for one in found:
        assert one.persons == sum(one.from_ms <= time <= one.to_ms for time in took)
    for one, topic_view in pairwise(found):
        assert one.to_ms + 1 == topic_view.from_ms
    assert sum(one.persons for one in found) == len(took)


def test_days_that_are_asked_for_are_added_up() -> None:
    def day(took: int) -> DayCounts:
        return DayCounts([1, 1], [sketch_of(np.array([0])), sketch_of(np.array([took]))], [])

    counted = FunnelAggregates([1, 1], {0: day(10), 1: day(1_000), 2: day(2_000)}, 0, None, {})
    first, last = datetime.date(1970, 1, 2), datetime.date(1970, 1, 3)
    found = histogram(counted, "stream", 2, 10, first, last)
    assert (found.persons, found.mean_ms, found.state) == (2, 1_500, "live")
    assert found.bins[0].from_ms <= 1_000 <= found.bins[0].to_ms
    assert found.bins[-1].from_ms <= 2_000 <= found.bins[-1].to_ms
    nobody = histogram(counted, "stream", 2, 10, datetime.date(1971, 1, 1), datetime.date.max)
    assert (nobody.persons, nobody.median_ms, nobody.bins) == (0, None, [])
