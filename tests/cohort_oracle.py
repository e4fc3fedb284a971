"""Cohorts by their definition: a fold of plain Python over whole lists of events."""

import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from schemas.calendar import Period


class Act(NamedTuple):
    """What a person did: an instant (ms), and whether it starts, and whether it is a return."""

    person: int
    at: int
    starts: bool
    returns: bool


class Grid(NamedTuple):
    """Persons by the first day of the period they began in; and who of them was back when."""

    persons: dict[datetime.date, int]
    returned: dict[datetime.date, list[int]]
    or_later: dict[datetime.date, list[int]]


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
    began: dict[int, datetime.date] = {}
    returned: defaultdict[int, set[datetime.date]] = defaultdict(set)
    for act in acts:
        day = first_day(act.at, period, timezone)
        if act.starts:
            began[act.person] = min(day, began.get(act.person, day))
        if act.returns:
            returned[act.person].add(day)
    found = Grid({}, {}, {})
    for person, begin in began.items():
        found.persons[begin] = found.persons.get(begin, 0) + 1
        on = found.returned.setdefault(begin, [0] * periods)
        later = found.or_later.setdefault(begin, [0] * periods)
        day = begin
        for column in range(periods):
            on[column] += day in returned[person]
            later[column] += any(other >= day for other in returned[person])
            day = next_period(day, period)
    return found
