"""Kernels number days as the calendar does."""

import numpy as np
import pytest

from pipelines.columnar.jit import Int64s, kernel
from pipelines.engine.days import FIRST_DAY, UTC_DAYS, begin_of_day, day_of, days_in
from schemas.errors import InvalidRequest
from schemas.time.calendar import calendar
from schemas.time.days import day_runs
from tests.schemas.test_days import DAY_MS, FIRST, LAST, STRANGE


@kernel
def number_all(days: Int64s, at: Int64s, numbers: Int64s, begins: Int64s) -> None:
    for i in range(len(at)):
        numbers[i] = day_of(days, at[i])
        begins[i] = begin_of_day(days, numbers[i])


def numbered(timezone: str, at: Int64s) -> tuple[Int64s, Int64s]:
    """The day of each instant, and when that begins."""
    numbers, begins = np.zeros_like(at), np.zeros_like(at)
    number_all(days_in(timezone), at, numbers, begins)
    return numbers, begins


@pytest.mark.parametrize("name", STRANGE)
def test_days_are_those_of_the_calendar_and_begin_when_they_do(name: str) -> None:
    runs, of = day_runs(name), calendar("day", name)
    changes = runs.begins[(runs.first >= FIRST) & (runs.first < LAST)]
    around = np.append(np.arange(-30, 31) * 3_600_000, [-1, 1])
    every = np.arange(0, 4_000) * 900 * DAY_MS // 100
    at = np.concatenate([(changes[:, None] + around).ravel(), every])
    numbers, begins = numbered(name, at)
    assert numbers.tolist() == of.periods(at).tolist()
    assert begins.tolist() == [of.begin(number) for number in numbers.tolist()]


def test_days_of_utc_are_not_looked_up() -> None:
    for name in ("UTC", "Etc/UTC", "GMT", "Africa/Abidjan"):
        assert days_in(name) is UTC_DAYS
    assert len(days_in("Europe/London"))
    before_1970 = np.array([-1, -DAY_MS, 0, DAY_MS - 1])
    assert numbered("UTC", before_1970)[0].tolist() == [-1, -1, 0, 0]


def test_instants_beyond_the_calendar_are_of_its_first_and_last_days() -> None:
    at = np.array([-(2**62), -(10**15), 10**16, 2**62])
    first, last = calendar("day", "Asia/Kathmandu").periods(np.array([-(10**15), 10**16]))
    numbers, _ = numbered("Asia/Kathmandu", at)
    assert numbers.tolist() == [first, first, last, last]
    assert first == FIRST_DAY


def test_a_time_zone_that_does_not_exist_has_no_days() -> None:
    with pytest.raises(InvalidRequest, match="IANA name"):
        days_in("Mars/Olympus")
