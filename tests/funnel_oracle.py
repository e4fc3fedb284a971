"""What the figures of a funnel with options must be: chain after chain, event after event.

Shares no code with the product.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import md5
from typing import NamedTuple

from schemas.operators.funnel import Funnel

DAY_MS = 86_400_000
NOT_SET = int.from_bytes(md5(md5(b"").hexdigest().upper().encode()).digest()[:8], "little")


class Happening(NamedTuple):
    """One event: the steps it satisfies, and the exclusions (both from 1), and what it has.

    `held` stands for the values of the properties that are held constant, `value` for the one that
    figures are broken down by. `NOT_SET` stands for a value that is not set.
    """

    person: str
    at_ms: int
    steps: frozenset[int]
    excluded: frozenset[int] = frozenset()
    held: int = 0
    value: int = NOT_SET


class Day(NamedTuple):
    """Persons (with their times, ascending) and chains of one entry day that reached each step."""

    reached: list[int]
    times: list[list[int]]
    entries: list[int]


class OfValue(NamedTuple):
    """Persons and chains of one value that reached each step."""

    reached: list[int]
    entries: list[int]


class Folded(NamedTuple):
    """Figures by entry day (days since 1970), and over all of them."""

    days: dict[int, Day]
    reached: list[int]
    entries: list[int]
    values: dict[int, OfValue]
    values_by_day: dict[tuple[int, int], OfValue]


class Chain(NamedTuple):
    """When a chain began, when it reached which step, and the value it has at last."""

    begin: int
    reached: dict[int, int]
    value: int


def fold(funnel: Funnel, events: Iterable[Happening]) -> Folded:
    """Return the figures of a funnel, whatever order the events come in."""
    count = len(funnel.steps)
    found = Folded({}, [0] * count, [0] * count, {}, {})
    persons: defaultdict[str, list[Happening]] = defaultdict(list)
    for event in events:
        persons[event.person].append(event)
    for own in persons.values():
        days: defaultdict[int, list[Chain]] = defaultdict(list)
        for chain in chains(funnel, own):
            days[chain.begin // DAY_MS].append(chain)
        count_values(found, count, [chain for of_day in days.values() for chain in of_day])
        for step in range(1, count + 1):
            there = False
            for day, of_day in days.items():
                figures = found.days.setdefault(
                    day, Day([0] * count, [[] for _ in range(count)], [0] * count)
                )
                first = min(
                    (
                        (chain.reached[step], -chain.begin)
                        for chain in of_day
                        if step in chain.reached
                    ),
                    default=None,
                )
                if first is not None:
                    there = True
                    figures.reached[step - 1] += 1
                    figures.times[step - 1].append(sum(first))
                entries = sum(step in chain.reached for chain in of_day)
                figures.entries[step - 1] += entries
                found.entries[step - 1] += entries
            found.reached[step - 1] += there
    for figures in found.days.values():
        for times in figures.times:
            times.sort()
    return found


def count_values(found: Folded, steps: int, own: Sequence[Chain]) -> None:
    """Add one person's chains to the figures of their values, in total and by day."""
    by_value: defaultdict[int, list[Chain]] = defaultdict(list)
    by_day: defaultdict[tuple[int, int], list[Chain]] = defaultdict(list)
    for chain in own:
        by_value[chain.value].append(chain)
        by_day[chain.begin // DAY_MS, chain.value].append(chain)
    for value, of_value in by_value.items():
        _count(found.values.setdefault(value, OfValue([0] * steps, [0] * steps)), of_value)
    for key, of_day in by_day.items():
        _count(found.values_by_day.setdefault(key, OfValue([0] * steps, [0] * steps)), of_day)


def _count(figures: OfValue, own: Sequence[Chain]) -> None:
    for index in range(len(figures.reached)):
        chains_there = sum(index + 1 in chain.reached for chain in own)
        figures.reached[index] += chains_there > 0
        figures.entries[index] += chains_there


def chains(funnel: Funnel, events: Sequence[Happening]) -> Iterator[Chain]:
    """All chains of one person."""
    for place, event in enumerate(events):
        if event.steps if funnel.order == "any" else 1 in event.steps:
            yield run(funnel, events, place)


def run(funnel: Funnel, events: Sequence[Happening], begin: int) -> Chain:
    """The chain that begins with one of a person's events, moment by moment."""
    entry = events[begin]
    chain = Chain(entry.at_ms, {}, NOT_SET)
    values: dict[int, int] = {}
    taken: list[int] = []
    latest = entry.at_ms + 1_000 * funnel.window_s
    for at in sorted({event.at_ms for event in events if entry.at_ms <= event.at_ms <= latest}):
        places = [place for place, event in enumerate(events) if event.at_ms == at]
        if at > entry.at_ms and any(
            excludes(funnel, chain, entry, events[place], taken) for place in places
        ):
            break
        used: set[int] = set()
        while True:
            left = [] if complete(funnel, taken) else places if taken else [begin]
            if funnel.once:
                left = [place for place in left if place not in used]
            step, place = next_taken(funnel, events, entry, left, taken)
            if not step:
                break
            used.add(place)
            taken.append(step)
            number = len(taken) if funnel.order == "any" else step
            chain.reached[number] = at
            values[number] = events[place].value
        if funnel.order == "strict" and at > entry.at_ms and len(used) < len(places):
            break
    match funnel.breakdown and funnel.breakdown.attribution:
        case "first":
            return chain._replace(value=entry.value)
        case "last":
            return chain._replace(value=values[max(values)])
        case int() as step:
            return chain._replace(value=values.get(step, NOT_SET))
    return chain


def complete(funnel: Funnel, taken: Sequence[int]) -> bool:
    """Whether a chain can take no more steps."""
    count = len(funnel.steps)
    return len(taken) == count if funnel.order == "any" else count in taken


def next_taken(
    funnel: Funnel,
    events: Sequence[Happening],
    entry: Happening,
    left: Sequence[int],
    taken: Sequence[int],
) -> tuple[int, int]:
    """The step that a chain takes next, and the place of its event; (0, 0) if there is none.

    It is the lowest step. Of several events it is that of the least value; if an event is one step
    at most, rather one that satisfies none of the next steps.
    """
    choices = []
    for place in left:
        event = events[place]
        for step in event.steps if event.held == entry.held else ():
            if may_come_next(funnel, taken, step):
                later = [other in event.steps for other in range(step + 1, len(funnel.steps) + 1)]
                choices.append((step, later if funnel.once else [], event.value, place))
    return (min(choices)[0], min(choices)[3]) if choices else (0, 0)


def may_come_next(funnel: Funnel, taken: Sequence[int], step: int) -> bool:
    """Whether a chain that has taken these steps may take another now."""
    if funnel.order == "any":
        return step not in taken
    last = taken[-1] if taken else 0
    skipped = funnel.steps[last : step - 1]
    return step > last and all(step.optional for step in skipped)


def excludes(
    funnel: Funnel, chain: Chain, entry: Happening, event: Happening, taken: Sequence[int]
) -> bool:
    """Whether an event ends a chain before the steps of its moment."""
    if event.held != entry.held or complete(funnel, taken):
        return False
    if any(may_come_next(funnel, taken, step) for step in event.steps):
        return False
    last = max(chain.reached)
    return any(
        number in event.excluded and one.after <= last < (one.before or len(funnel.steps))
        for number, one in enumerate(funnel.exclusions, 1)
    )
