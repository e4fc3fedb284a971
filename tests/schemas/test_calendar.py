"""Periods are those of a calendar on the wall, also where clocks change."""

import datetime
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from schemas.time.calendar import Period, WeekStart, begin_of, calendar, number_of
from tests.oracles.cohort import first_day, next_period

ZONES = ["UTC", "Europe/Lisbon", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia"]
PERIODS: list[Period] = ["day", "week", "month"]
WEEK_STARTS: tuple[WeekStart, ...] = get_args(WeekStart)


INSTANTS = st.integers(0, 4_102_444_800_000)


@given(
    st.sampled_from(PERIODS),
    st.sampled_from(ZONES),
    st.sampled_from(WEEK_STARTS),
    st.lists(INSTANTS, max_size=4)
    | INSTANTS.flatmap(lambda at: st.lists(st.integers(at - 10**7, at + 10**7), max_size=4)),
)
@settings(deadline=None)
def test_an_instant_lies_in_the_period_that_the_wall_shows(
    period: Period, timezone: str, week_start: WeekStart, instants: list[int]
) -> None:
    numbers = calendar(period, timezone, week_start).periods(np.array(instants, np.int64))
    days = [begin_of(period, number, week_start) for number in numbers.tolist()]
    assert days == [first_day(at, period, timezone, week_start) for at in instants]


@given(
    st.sampled_from(PERIODS),
    st.sampled_from(WEEK_STARTS),
    st.dates(datetime.date(1970, 1, 1), datetime.date(2100, 1, 1)),
)
@settings(deadline=None)
def test_numbers_go_on_by_one(period: Period, week_start: WeekStart, day: datetime.date) -> None:
    number = number_of(period, day, week_start)
    begin = begin_of(period, number, week_start)
    assert begin <= day < next_period(begin, period)
    assert begin_of(period, number + 1, week_start) == next_period(begin, period)


def test_a_week_begins_on_monday_or_on_sunday() -> None:
    sunday = datetime.date(2026, 11, 29)
    assert begin_of("week", number_of("week", sunday)) == datetime.date(2026, 11, 23)
    assert begin_of("week", number_of("week", sunday, "sunday"), "sunday") == sunday


def test_a_day_on_which_clocks_change_is_an_hour_shorter_or_longer() -> None:
    lisbon = calendar("day", "Europe/Lisbon")
    spring, autumn = (number_of("day", datetime.date(2026, m, d)) for m, d in ((3, 29), (10, 25)))
    hours = [(lisbon.begin(day + 1) - lisbon.begin(day)) // 3_600_000 for day in (spring, autumn)]
    assert hours == [23, 25]


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", "", "Europe"):
        with pytest.raises(InvalidRequest) as refused:
            calendar("day", name)
        assert refused.value.field == "timezone"
