"""Days are numbered by the rules of `tzdata`, as the calendar does."""

import datetime
import zoneinfo

import numpy as np
import pytest

from schemas.errors import InvalidRequest
from schemas.time.buckets import Buckets
from schemas.time.calendar import begin_of, calendar, find_zone, midnight
from schemas.time.days import day_runs

DAY_MS = 86_400_000
FIRST, LAST = 10_957, 25_567  # 2000 to 2040
ZONES = sorted(zoneinfo.available_timezones())
# Where clocks change at midnight, over it, by half an hour, twice a month, or a day is left out.
STRANGE = [
    *("America/St_Johns", "America/Havana", "America/Vancouver", "Australia/Lord_Howe"),
    *("Africa/Casablanca", "Asia/Tehran", "Pacific/Apia", "Asia/Kathmandu", "UTC"),
]


def test_the_days_of_every_zone_begin_at_its_midnights() -> None:
    for name in ZONES:
        zone, runs = zoneinfo.ZoneInfo(name), day_runs(name)
        days = np.concatenate([runs.first + shift for shift in (-2, -1, 0, 1, 2)])
        days = np.unique(days[(days >= FIRST) & (days < LAST)])
        begins, ends = (
            np.array([midnight(begin_of("day", day + shift), zone) for day in days.tolist()])
            for shift in (0, 1)
        )
        there = begins < ends  # a day that is left out has no length
        for at in (begins, ends - 1):
            assert runs.numbers(at)[there].tolist() == days[there].tolist(), name


@pytest.mark.parametrize("name", STRANGE)
def test_days_are_those_of_the_calendar(name: str) -> None:
    runs = day_runs(name)
    changes = runs.begins[(runs.first >= FIRST) & (runs.first < LAST)]
    hours = np.arange(-30, 31) * 3_600_000
    at = np.concatenate(
        [(changes[:, None] + hours).ravel(), np.arange(0, 4_000) * 900 * DAY_MS // 100]
    )
    expected = calendar("day", name).periods(at)
    assert runs.numbers(at).tolist() == expected.tolist()
    buckets = Buckets(86_400, name)
    for one, day in zip(at[::97].tolist(), expected[::97].tolist(), strict=True):
        assert buckets.number(one) == day


def test_the_rules_are_those_of_the_package_and_not_of_the_system() -> None:
    at = datetime.datetime(2026, 11, 19, 7, 30, tzinfo=datetime.UTC)
    assert at.astimezone(find_zone("America/Vancouver")).isoformat() == "2026-11-19T00:30:00-07:00"
    for name in ("right/UTC", "posix/UTC", "localtime", "Europe", "zone.tab", "europe/lisbon"):
        with pytest.raises(InvalidRequest, match="IANA name"):
            find_zone(name)
