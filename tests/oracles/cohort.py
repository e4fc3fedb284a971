"""What a cohort's grid must be: a fold of plain Python over whole lists of events."""

import datetime
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from tests.oracles.conditions import value_of
from tests.oracles.days import date_of
from tests.oracles.events import Event, Json, selected
from tests.oracles.values import NOT_SET, name_of, rank

Period = Literal["day", "week", "month"]
WeekStart = Literal["monday", "sunday"]


class Act(NamedTuple):
    """What a person did: an instant (ms), and whether it starts, and whether it is a return."""

    person: Any
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

    persons: set[Any]
    returned: list[set[Any]]
    or_later: list[set[Any]]


def first_day(
    at: int, period: Period, timezone: str, week_start: WeekStart = "monday"
) -> datetime.date:
    """The first day of the period that an instant lies in, as a calendar on the wall says."""
    day = date_of(at, timezone)
    match period:
        case "day":
            return day
        case "week":
            before = day.weekday() if week_start == "monday" else day.isoweekday() % 7
            return day - datetime.timedelta(days=before)
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


def grid(
    acts: Iterable[Act],
    period: Period,
    periods: int,
    timezone: str,
    week_start: WeekStart = "monday",
) -> Grid:
    """Count it all, person by person."""
    found = Grid({}, {}, {})
    for begin, row in persons(acts, period, periods, timezone, week_start).items():
        found.persons[begin] = len(row.persons)
        found.returned[begin] = [len(cell) for cell in row.returned]
        found.or_later[begin] = [len(cell) for cell in row.or_later]
    return found


def grids(
    acts: list[Act],
    period: Period,
    periods: int,
    timezone: str,
    week_start: WeekStart = "monday",
) -> dict[str, Grid]:
    """Count it for each value that persons first start with, by the value's name."""
    first: dict[Any, tuple[int, int, str]] = {}
    for act in acts:
        if act.starts:
            name = name_of(act.value)
            came = act.at, rank([name]), name
            first[act.person] = min(came, first.get(act.person, came))
    names = {person: name for person, (_, _, name) in first.items()}
    return {
        value: grid(
            (act for act in acts if names.get(act.person) == value),
            period,
            periods,
            timezone,
            week_start,
        )
        for value in set(names.values())
    }


class Figures(NamedTuple):
    """The grid of all persons, and that of each value by its name."""

    rows: Grid
    values: dict[str, Grid]


def figures(cohort: Json, events: Iterable[Event]) -> Figures:
    """Return the grids of a cohort, as its body reads in JSON, in any order of the events."""
    breakdown = cohort.get("breakdown")
    acts = [
        Act(
            event.person,
            event.at,
            selected(cohort["start"], event),
            selected(cohort.get("return", {}), event),
            value_of(event.properties, breakdown["property"]) if breakdown else NOT_SET,
        )
        for event in events
    ]
    of = (
        cohort.get("period", "day"),
        cohort.get("periods", 12),
        cohort.get("timezone", "UTC"),
        cohort.get("week_start", "monday"),
    )
    return Figures(grid(acts, *of), grids(acts, *of) if breakdown else {})


def persons(
    acts: Iterable[Act],
    period: Period,
    periods: int,
    timezone: str,
    week_start: WeekStart = "monday",
) -> dict[datetime.date, Persons]:
    """Who is in which cell, by the first day of the period they began in."""
    began: dict[Any, datetime.date] = {}
    returned: defaultdict[Any, set[datetime.date]] = defaultdict(set)
    for act in acts:
        day = first_day(act.at, period, timezone, week_start)
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
