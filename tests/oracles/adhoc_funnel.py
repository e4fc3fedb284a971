"""What a funnel query must answer: person by person, from all of their chains."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.oracles.events import Event, Json
from tests.oracles.filters import had_at
from tests.oracles.funnel_options import Chain, Happening, happening, run
from tests.oracles.segment import properties_of
from tests.oracles.values import NOT_SET, name_of

OTHER = "other"


class Figures(NamedTuple):
    """Persons behind each step, by step; times ascending; and chains."""

    reached: list[set[str]]
    open: list[set[str]]
    dropped: list[set[str]]
    times: list[list[int]]
    entries: list[int]


class Own(NamedTuple):
    """A chain of a person, and whether an event to come could take it further."""

    person: str
    chain: Chain
    is_open: bool


def chains_of(
    funnel: Json, by: Json, events: Sequence[Event], begin: int, end: int, until: int
) -> list[Own]:
    """The chains that begin from `begin` to `end`; events from `until` on are to come."""
    breakdown = {"property": by["property"]} if "property" in by else {"property": "none"}
    asked = {**funnel, "breakdown": breakdown | {"attribution": attribution_of(by)}}
    label = _labels(by, events)
    found = []
    for person in {one.person for one in events}:
        places = [place for place, one in enumerate(events) if one.person == person]
        own = [happening(asked, events[at])._replace(value=label(at)) for at in places]
        for place, entry in enumerate(own):
            first = entry.steps if funnel.get("order") == "any" else 1 in entry.steps
            if first and begin <= entry.at < end:
                chain = run(asked, own, place)
                found.append(Own(person, chain, _is_open(asked, own, place, chain, until)))
    return found


def figures(funnel: Json, chains: Sequence[Own]) -> Figures:
    """The figures of some chains."""
    steps = range(1, len(funnel["steps"]) + 1)
    persons = {one.person for one in chains}
    still = {one.person for one in chains if one.is_open}
    reached = [{one.person for one in chains if step in one.chain.reached} for step in steps]
    missed = [
        set() if step == 1 else reached[_before(funnel, step) - 1] - reached[step - 1]
        for step in steps
    ]
    times = []
    for step in steps:
        firsts = [
            min(
                (
                    (one.chain.reached[step], -one.chain.begin)
                    for one in chains
                    if one.person == person and step in one.chain.reached
                ),
                default=None,
            )
            for person in persons
        ]
        times.append(sorted(sum(first) for first in firsts if first))
    entries = [sum(step in one.chain.reached for one in chains) for step in steps]
    return Figures(
        reached, [one & still for one in missed], [one - still for one in missed], times, entries
    )


def by_label(chains: Sequence[Own], top: int) -> dict[str, list[Own]]:
    """The chains of each label that is shown, in their order, and those of the others."""
    persons: dict[str, set[str]] = {}
    for one in chains:
        persons.setdefault(one.chain.value, set()).add(one.person)
    shown = sorted(persons, key=lambda name: (-len(persons[name]), name))[:top]
    found: dict[str, list[Own]] = {name: [] for name in shown}
    for one in chains:
        found.setdefault(one.chain.value if one.chain.value in shown else OTHER, []).append(one)
    return found


def attribution_of(by: Json) -> str | int:
    """Whose label a chain has, of its events."""
    found: str | int = by.get("attribution", "first")
    return "first" if found == "first_touch" else found


def _labels(by: Json, events: Sequence[Event]) -> Callable[[int], str]:
    """The label of the event at a place."""
    match by:
        case {"property": name, "attribution": "first_touch"}:
            touched: dict[str, str] = {}
            for one in sorted(events, key=lambda event: event.at):
                if (value := name_of(one.properties.get(name))) != NOT_SET:
                    touched.setdefault(one.person, value)
            return lambda place: touched.get(events[place].person, NOT_SET)
        case {"property": name}:
            return lambda place: name_of(events[place].properties.get(name))
        case {"person": name, "at": "event"}:
            return lambda place: name_of(had_at(place, events).get(name))
        case {"person": name}:
            known: Mapping[str, str] = {
                person: name_of(
                    properties_of([one for one in events if one.person == person]).get(name)
                )
                for person in {one.person for one in events}
            }
            return lambda place: known[events[place].person]
    return lambda _: NOT_SET


def _is_open(funnel: Json, own: Sequence[Happening], place: int, chain: Chain, until: int) -> bool:
    """Whether some event at `until` would take the chain further."""
    entry = own[place]
    if until > entry.at + 1_000 * funnel["window_s"]:
        return False
    for step in range(1, len(funnel["steps"]) + 1):
        event = Happening(entry.person, until, frozenset({step}), frozenset(), entry.held, "")
        if len(run(funnel, [*own, event], place).reached) > len(chain.reached):
            return True
    return False


def _before(funnel: Json, step: int) -> int:
    """The nearest step before that is not optional."""
    return next(at for at in range(step - 1, 0, -1) if not funnel["steps"][at - 1].get("optional"))
