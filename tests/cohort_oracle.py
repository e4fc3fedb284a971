"""Cohorts by their definition: a fold of plain Python over whole lists of events."""

import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from pipelines.matching.value_hash import fingerprint
from schemas.time.calendar import Period


class Act(NamedTuple):
    """What a person did: an instant (ms), and whether it starts, and whether it is a return."""

    person: int
    at: int
    starts: bool
    returns: bool
    value: Any = None


class Grid(NamedTuple):
    """How many began in each period, by its first day; and how many of them were back when."""

    persons: dict[datetime.date, int]
    returned: dict[datetime.date, list[int]]
    or_later: dict[datetime.date, list[int]]


class Persons(NamedTuple):
    """Who began in a period; and who of them was back when."""

    persons: set[int]
    returned: list[set[int]]
    or_later: list[set[int]]


def first_day(at: int, period: Period, timezone: str) -> datetime.date:
    """The first day of the period that an instant lies in, as a calendar on the wall says."""
    seconds = datetime.datetime.fromtimestamp(at // 1_000, zoneinfo.ZoneInfo(timezone))
    day = seconds.date()
    match period:
        case "day":
            return day
        case "week":
            return day - datetime.timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def next_period(day: datetime.date, period: Period) -> datetime.date:
    """The first day of the period after the one that begins on `day`."""
    match period:
        case "day":
            return day + datetime.timedelta(days=1)
        case "week":
            return day + datetime.timedelta(days=7)
        case "month":
            return (day + datetime.timedelta(days=31)).replace(day=1)


def grid(acts: Iterable[Act], period: Period, periods: int, timezone: str) -> Grid:
    """Count it all, person by person."""
    found = Grid({}, {}, {})
    for begin, row in persons(acts, period, periods, timezone).items():
        found.persons[begin] = len(row.persons)
        found.returned[begin] = [len(cell) for cell in row.returned]
        found.or_later[begin] = [len(cell) for cell in row.or_later]
    return found


def grids(acts: list[Act], period: Period, periods: int, timezone: str) -> dict[int, Grid]:
    """Count it for each value that persons first start with, by its fingerprint."""
    first: dict[int, tuple[int, int]] = {}
    for act in acts:
        if act.starts:
            came = act.at, fingerprint([act.value])
            first[act.person] = min(came, first.get(act.person, came))
    return {
        value: grid(
            (act for act in acts if act.person in first and first[act.person][1] == value),
            period,
            periods,
            timezone,
        )
        for value in {value for _, value in first.values()}
    }


def persons(
    acts: Iterable[Act], period: Period, periods: int, timezone: str
) -> dict[datetime.date, Persons]:
    """Who is in which cell, by the first day of the period they began in."""
    began: dict[int, datetime.date] = {}
    returned: defaultdict[int, set[datetime.date]] = defaultdict(set)
    for act in acts:
        day = first_day(act.at, period, timezone)
        if act.starts:
            began[act.person] = min(day, began.get(act.person, day))
        if act.returns:
            returned[act.person].add(day)
    found: dict[datetime.date, Persons] = {}
    for person, begin in began.items():
        nobody = Persons(set(), [set() for _ in range(periods)], [set() for _ in range(periods)])
        row = found.setdefault(begin, nobody)
        row.persons.add(person)
        day = begin
        for column in range(periods):
            if day in returned[person]:
                row.returned[column].add(person)
            if any(other >= day for other in returned[person]):
                row.or_later[column].add(person)
            day = next_period(day, period)
    return found
