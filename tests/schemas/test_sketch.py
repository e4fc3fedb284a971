from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions import MAX_WINDOW_S
from schemas.sketches.durations import (
    EDGES,
    EMPTY,
    Sketch,
    bucket_of,
    mean,
    merge,
    quantile,
    sketch_of,
    value_of,
)
from tests.schemas.examples import patient

GROWTH = Fraction(101, 99)
times = st.integers(0, MAX_WINDOW_S * 1_000) | st.integers(0, 200)
time_lists = st.lists(times, max_size=20)


def sketch(values: list[int]) -> Sketch:
    return sketch_of(np.array(values, np.int64))


def one_bucket(time: int) -> int:
    return int(bucket_of(np.array([time], np.int64))[0])


@patient
@given(times)
def test_a_time_lies_above_the_last_edge_and_not_above_its_own(time: int) -> None:
    bucket = one_bucket(time)
    assert time <= GROWTH**bucket
    assert bucket == 0 or time > GROWTH ** (bucket - 1)


def test_every_edge_belongs_to_its_bucket_and_the_next_millisecond_to_a_later_one() -> None:
    for edge in np.unique(EDGES)[:-1].tolist():
        assert edge <= GROWTH ** one_bucket(edge)
        assert one_bucket(edge + 1) > one_bucket(edge)


def test_the_largest_time_there_is_has_a_bucket() -> None:
    assert one_bucket(2**63 - 1) == len(EDGES) - 1


@patient
@given(st.integers(2, MAX_WINDOW_S * 1_000) | st.integers(2, 200))
def test_a_bucket_stands_for_each_of_its_times_within_one_per_cent(time: int) -> None:
    assert value_of(one_bucket(time)) == pytest.approx(time, rel=0.01 + 1e-9)


def test_the_first_bucket_stands_for_no_time_at_all() -> None:
    assert value_of(one_bucket(0)) == value_of(one_bucket(1)) == 0


@patient
@given(st.lists(times, min_size=1, max_size=20), st.floats(0.001, 1))
def test_a_quantile_is_within_one_per_cent_of_the_time_of_its_rank(
    values: list[int], q: float
) -> None:
    exact = sorted(values)[max(0, int(np.ceil(q * len(values))) - 1)]
    assert quantile(sketch(values), q) == pytest.approx(exact, rel=0.01 + 1e-9, abs=1)


@patient
@given(st.lists(time_lists, min_size=1, max_size=4), st.floats(0.001, 1))
def test_a_quantile_lies_within_the_times_that_were_counted(
    parts: list[list[int]], q: float
) -> None:
    merged, whole = merge(map(sketch, parts)), [value for part in parts for value in part]
    found = quantile(merged, q)
    assert (found is None) == (not whole)
    assert found is None or min(whole) <= found <= max(whole)


def test_of_a_sketch_without_bounds_a_quantile_is_that_of_its_bucket() -> None:
    known, unknown = sketch([60_000]), sketch([60_000])._replace(min_ms=None, max_ms=None)
    assert quantile(known, 0.9) == 60_000
    assert (
        quantile(unknown, 0.9)
        == quantile(merge([known, unknown]), 0.9)
        == pytest.approx(value_of(one_bucket(60_000)))
    )


def test_no_times_have_no_quantile() -> None:
    assert quantile(EMPTY, 0.5) is None
    assert mean(EMPTY) is None


@patient
@given(st.lists(time_lists, max_size=4))
def test_sketches_of_parts_merge_into_the_sketch_of_the_whole(parts: list[list[int]]) -> None:
    merged = merge(map(sketch, parts))
    whole = sketch([value for part in parts for value in part])
    assert merged.buckets.tolist() == whole.buckets.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.sum_ms == whole.sum_ms


@patient
@given(st.lists(times, min_size=1, max_size=20))
def test_the_mean_is_exact(values: list[int]) -> None:
    assert mean(sketch(values)) == sum(values) / len(values)
