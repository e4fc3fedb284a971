"""What the figures of a funnel with options must be: chain after chain, event after event."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.oracles.conditions import value_of
from tests.oracles.days import day_of
from tests.oracles.events import Event, Json, selected
from tests.oracles.values import NOT_SET, name_of, rank, whole_name_of

DAY_MS = 86_400_000


class Happening(NamedTuple):
    """One event: the steps it satisfies, and the exclusions (both from 1), and what it has.

    `held` are the values of the properties that are held constant, `value` is that of the one that
    figures are broken down by, all by name (`tests.oracles.values`).
    """

    person: str
    at: int
    steps: frozenset[int]
    excluded: frozenset[int]
    held: tuple[str, ...]
    value: str


class Day(NamedTuple):
    """Persons (with their times, ascending) and chains of one entry day that reached each step."""

    reached: list[int]
    times: list[list[int]]
    entries: list[int]


class OfValue(NamedTuple):
    """Persons and chains of one value that reached each step."""

    reached: list[int]
    entries: list[int]


class Figures(NamedTuple):
    """Figures by entry day (days since 1970) of the time zone, and in total; values are by name.

    Chains are counted (`entries`) where the funnel asks for it, and are no numbers elsewhere.
    """

    days: dict[int, Day]
    reached: list[int]
    entries: list[int]
    values: dict[str, OfValue]
    values_by_day: dict[tuple[int, str], OfValue]


class Chain(NamedTuple):
    """When a chain began, when it reached which step, and the value it has at last."""

    begin: int
    reached: dict[int, int]
    value: str


def figures(funnel: Json, events: Iterable[Event]) -> Figures:
    """Return the figures of a funnel, as its body reads in JSON, in any order of the events."""
    return fold(funnel, (happening(funnel, event) for event in events))


def fold(funnel: Json, happenings: Iterable[Happening]) -> Figures:
    """Return the figures of a funnel of what events are to it, in any order."""
    count = len(funnel["steps"])
    found = Figures({}, [0] * count, [0] * count, {}, {})
    persons: defaultdict[str, list[Happening]] = defaultdict(list)
    for one in happenings:
        persons[one.person].append(one)
    for own in persons.values():
        _count_person(funnel, found, list(chains(funnel, own)))
    for day in found.days.values():
        for times in day.times:
            times.sort()
    return found if funnel.get("entries") else _without_entries(found)


def happening(funnel: Json, event: Event) -> Happening:
    """What an event is to a funnel."""
    breakdown = funnel.get("breakdown")
    names = funnel.get("hold_constant", ())
    return Happening(
        event.person,
        event.at,
        _numbers(funnel["steps"], event),
        _numbers(funnel.get("exclusions", ()), event),
        tuple(whole_name_of(value_of(event.properties, name)) for name in names),
        name_of(value_of(event.properties, breakdown["property"])) if breakdown else NOT_SET,
    )


def _numbers(asked: Sequence[Json], event: Event) -> frozenset[int]:
    return frozenset(number for number, one in enumerate(asked, 1) if selected(one, event))


def _count_person(funnel: Json, found: Figures, own: Sequence[Chain]) -> None:
    count = len(found.reached)
    days: defaultdict[int, list[Chain]] = defaultdict(list)
    for chain in own:
        days[_day(funnel, chain)].append(chain)
    if funnel.get("breakdown"):
        _count_values(funnel, found, count, own)
    for step in range(1, count + 1):
        there = False
        for day, of_day in days.items():
            counted = found.days.setdefault(
                day, Day([0] * count, [[] for _ in range(count)], [0] * count)
            )
            first = min(
                ((chain.reached[step], -chain.begin) for chain in of_day if step in chain.reached),
                default=None,
            )
            if first is not None:
                there = True
                counted.reached[step - 1] += 1
                counted.times[step - 1].append(sum(first))
            entries = sum(step in chain.reached for chain in of_day)
            counted.entries[step - 1] += entries
            found.entries[step - 1] += entries
        found.reached[step - 1] += there


def _count_values(funnel: Json, found: Figures, steps: int, own: Sequence[Chain]) -> None:
    by_value: defaultdict[str, list[Chain]] = defaultdict(list)
    by_day: defaultdict[tuple[int, str], list[Chain]] = defaultdict(list)
    for chain in own:
        by_value[chain.value].append(chain)
        by_day[_day(funnel, chain), chain.value].append(chain)
    for value, of_value in by_value.items():
        _count(found.values.setdefault(value, OfValue([0] * steps, [0] * steps)), of_value)
    for key, of_day in by_day.items():
        _count(found.values_by_day.setdefault(key, OfValue([0] * steps, [0] * steps)), of_day)


def _day(funnel: Json, chain: Chain) -> int:
    return day_of(chain.begin, funnel.get("timezone", "UTC"))


def _count(counted: OfValue, own: Sequence[Chain]) -> None:
    for index in range(len(counted.reached)):
        chains_there = sum(index + 1 in chain.reached for chain in own)
        counted.reached[index] += chains_there > 0
        counted.entries[index] += chains_there


def _without_entries(found: Figures) -> Figures:
    return Figures(
        {day: counted._replace(entries=[]) for day, counted in found.days.items()},
        found.reached,
        [],
        {value: counted._replace(entries=[]) for value, counted in found.values.items()},
        {key: counted._replace(entries=[]) for key, counted in found.values_by_day.items()},
    )


def chains(funnel: Json, events: Sequence[Happening]) -> Iterator[Chain]:
    """All chains of one person."""
    for place, event in enumerate(events):
        if event.steps if funnel.get("order") == "any" else 1 in event.steps:
            yield run(funnel, events, place)


def run(funnel: Json, events: Sequence[Happening], begin: int) -> Chain:
    """The chain that begins with one of a person's events, moment by moment."""
    entry, order = events[begin], funnel.get("order", "ordered")
    chain = Chain(entry.at, {}, NOT_SET)
    values: dict[int, str] = {}
    taken: list[int] = []
    latest = entry.at + 1_000 * funnel["window_s"]
    for at in sorted({event.at for event in events if entry.at <= event.at <= latest}):
        places = [place for place, event in enumerate(events) if event.at == at]
        if at > entry.at and any(excludes(funnel, chain, entry, events[i], taken) for i in places):
            break
        used: set[int] = set()
        while True:
            left = [] if complete(funnel, taken) else places if taken else [begin]
            if funnel.get("once"):
                left = [place for place in left if place not in used]
            step, place = next_taken(funnel, events, entry, left, taken)
            if not step:
                break
            used.add(place)
            taken.append(step)
            number = len(taken) if order == "any" else step
            chain.reached[number] = at
            values[number] = events[place].value
        if order == "strict" and at > entry.at and len(used) < len(places):
            break
    breakdown = funnel.get("breakdown")
    match breakdown and breakdown.get("attribution", "first"):
        case "first":
            return chain._replace(value=entry.value)
        case "last":
            return chain._replace(value=values[max(values)])
        case int() as step:
            return chain._replace(value=values.get(step, NOT_SET))
    return chain


def complete(funnel: Json, taken: Sequence[int]) -> bool:
    """Whether a chain can take no more steps."""
    count = len(funnel["steps"])
    return len(taken) == count if funnel.get("order") == "any" else count in taken


def next_taken(
    funnel: Json,
    events: Sequence[Happening],
    entry: Happening,
    left: Sequence[int],
    taken: Sequence[int],
) -> tuple[int, int]:
    """The step that a chain takes next, and the place of its event; (0, 0) if there is none.

    It is the lowest step. Of several events it is that of the least value; if an event is one step
    at most, rather one that satisfies none of the next steps.
    """
    count = len(funnel["steps"])
    choices = []
    for place in left:
        event = events[place]
        for step in event.steps if event.held == entry.held else ():
            if may_come_next(funnel, taken, step):
                later = [other in event.steps for other in range(step + 1, count + 1)]
                spare = later if funnel.get("once") else []
                choices.append((step, spare, rank([event.value]), place))
    return (min(choices)[0], min(choices)[3]) if choices else (0, 0)


def may_come_next(funnel: Json, taken: Sequence[int], step: int) -> bool:
    """Whether a chain that has taken these steps may take another now."""
    if funnel.get("order") == "any":
        return step not in taken
    last = taken[-1] if taken else 0
    skipped = funnel["steps"][last : step - 1]
    return step > last and all(one.get("optional") for one in skipped)


def excludes(
    funnel: Json, chain: Chain, entry: Happening, event: Happening, taken: Sequence[int]
) -> bool:
    """Whether an event ends a chain before the steps of its moment."""
    if event.held != entry.held or complete(funnel, taken):
        return False
    if any(may_come_next(funnel, taken, step) for step in event.steps):
        return False
    last, steps = max(chain.reached), len(funnel["steps"])
    return any(
        number in event.excluded and one.get("after", 1) <= last < (one.get("before") or steps)
        for number, one in enumerate(funnel.get("exclusions", ()), 1)
    )
