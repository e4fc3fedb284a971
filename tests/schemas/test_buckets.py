"""Buckets are numbered alike one by one and in bulk, and as the calendar on the wall says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.time.buckets import Buckets, CalendarInterval
from schemas.time.calendar import WeekStart
from tests.oracles.metric import bucket_of

ZONES = ["UTC", "Europe/Lisbon", "Asia/Kathmandu", "Pacific/Apia", "America/New_York"]
LENGTHS: list[int | CalendarInterval] = [1, 10, 60, 600, 3_600, 86_400, "week", "month"]
WEEK_STARTS: list[WeekStart] = ["monday", "sunday"]
INSTANTS = st.integers(0, 2**42)  # up to the year 2109


@pytest.mark.parametrize("bucket_s", LENGTHS)
@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    week_start=st.sampled_from(WEEK_STARTS),
    instants=st.lists(INSTANTS, min_size=1),
)
def test_an_instant_lies_in_the_bucket_of_its_number(
    bucket_s: int | CalendarInterval, zone: str, week_start: WeekStart, instants: list[int]
) -> None:
    buckets = Buckets(bucket_s, zone, week_start)
    numbers = buckets.numbers(np.array(instants)).tolist()
    assert numbers == [buckets.number(at) for at in instants]
    assert numbers == [bucket_of(at, bucket_s, zone, week_start) for at in instants]
    for number, at in zip(numbers, instants, strict=True):
        assert buckets.begin(number) <= at < buckets.begin(number + 1)
        assert buckets.number(buckets.begin(number)) == number


@settings(deadline=None)
@given(bucket_s=st.sampled_from(LENGTHS), at=INSTANTS, ms=st.integers(0, 10**9))
def test_a_stretch_touches_no_more_buckets_than_are_said(
    bucket_s: int | CalendarInterval, at: int, ms: int
) -> None:
    buckets = Buckets(bucket_s, "Europe/Lisbon")
    assert buckets.number(at + ms) - buckets.number(at) < buckets.max_count(ms)


def test_the_day_that_samoa_left_out_has_no_instants() -> None:
    buckets = Buckets(86_400, "Pacific/Apia")
    left_out = 15_338  # 2011-12-30
    assert buckets.begin(left_out) == buckets.begin(left_out + 1)
    assert buckets.number(buckets.begin(left_out)) == left_out + 1
