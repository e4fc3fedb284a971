"""What a cohort query must answer: the rows of each person, and when they came back."""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.oracles.cohort import Period, first_day, next_period
from tests.oracles.events import Event, Json, selected
from tests.oracles.filters import had_at
from tests.oracles.segment import properties_of
from tests.oracles.values import NOT_SET, name_of, rank

DAY_MS = 86_400_000
LENGTHS_MS = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
OTHER = "other"


class Entry(NamedTuple):
    """A person in a row: its first day, the label, and the columns with a return."""

    person: str
    begin: datetime.date
    label: str
    back: set[int]


def entries(query: Json, by: Json, events: Sequence[Event]) -> list[Entry]:
    """The rows of all persons, whenever they begin."""
    cohort = query["cohort"]
    found = []
    for person in {one.person for one in events}:
        places = [place for place, one in enumerate(events) if one.person == person]
        returns = [events[at].at for at in places if selected(cohort.get("return", {}), events[at])]
        firsts: dict[datetime.date, tuple[int, int, str]] = {}
        for at in places:
            if selected(cohort["start"], events[at]):
                label = _label(by, events, at)
                day = _period_of(query, events[at].at)
                start = events[at].at, rank([label]), label
                firsts[day] = min(start, firsts.get(day, start))
        if query.get("entry", "first") == "first":
            firsts = {day: firsts[day] for day in sorted(firsts)[:1]}
        for day, (began_at, _, label) in firsts.items():
            found.append(Entry(person, day, label, _back(query, day, began_at, returns)))
    return found


def shown_of(found: Sequence[Entry], top: int) -> list[str]:
    """The labels with the most persons, equal ones in their order."""
    persons: dict[str, set[str]] = {}
    for one in found:
        persons.setdefault(one.label, set()).add(one.person)
    return sorted(persons, key=lambda name: (-len(persons[name]), name))[:top]


def rows(found: Sequence[Entry], columns: int) -> dict[datetime.date, tuple[Any, ...]]:
    """By the first day: persons, how many came back in each column, and in that or a later one."""
    return {
        day: (
            sum(one.begin == day for one in found),
            [sum(one.begin == day and n in one.back for one in found) for n in range(columns)],
            [
                sum(one.begin == day and max(one.back, default=-1) >= n for one in found)
                for n in range(columns)
            ],
        )
        for day in sorted({one.begin for one in found})
    }


def _back(query: Json, day: datetime.date, began_at: int, returns: Sequence[int]) -> set[int]:
    period: Period = query["cohort"].get("period", "day")
    if query.get("columns", "calendar") == "rolling":
        return {(at - began_at) // LENGTHS_MS[period] for at in returns if at >= began_at}
    wanted = {_period_of(query, at) for at in returns}
    found, column = set(), 0
    while day <= max(wanted, default=datetime.date.min):
        if day in wanted:
            found.add(column)
        day, column = next_period(day, period), column + 1
    return found


def _period_of(query: Json, at: int) -> datetime.date:
    return first_day(
        at,
        query["cohort"].get("period", "day"),
        query.get("timezone", "UTC"),
        query.get("week_start", "monday"),
    )


def _label(by: Json, events: Sequence[Event], place: int) -> str:
    match by:
        case {"property": name}:
            return name_of(events[place].properties.get(name))
        case {"person": name, "at": "event"}:
            return name_of(had_at(place, events).get(name))
        case {"person": name}:
            own = [one for one in events if one.person == events[place].person]
            return name_of(properties_of(own).get(name))
    return NOT_SET
