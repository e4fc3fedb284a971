"""Which events pass the filters of a query, event by event."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tests.oracles.conditions import holds
from tests.oracles.events import Event, Json
from tests.oracles.segment import members, properties_of


def passing(
    where: Sequence[Json],
    events: Sequence[Event],
    now: int,
    segments: Mapping[str, Json] = MappingProxyType({}),
) -> list[Event]:
    """The events that pass all filters at `now` (ms); `segments` are the rules by their ids."""
    inside = {name: members(rule, events, now) for name, rule in segments.items()}
    return [
        one
        for place, one in enumerate(events)
        if all(_passes(each, place, events, inside) for each in where)
    ]


def had_at(place: int, events: Sequence[Event]) -> dict[str, Any]:
    """The properties that the person of the event at a place had at that event."""
    event = events[place]
    return properties_of(
        [
            one
            for at, one in enumerate(events)
            if one.person == event.person and (one.at, at) <= (event.at, place)
        ]
    )


def _passes(
    asked: Json, place: int, events: Sequence[Event], inside: Mapping[str, set[str]]
) -> bool:
    event = events[place]
    match asked:
        case {"and": some}:
            return all(_passes(one, place, events, inside) for one in some)
        case {"or": some}:
            return any(_passes(one, place, events, inside) for one in some)
        case {"not": one}:
            return not _passes(one, place, events, inside)
        case {"segment": name}:
            return event.person in inside[name]
        case {"person": condition, "at": "event"}:
            return holds([condition], had_at(place, events))
        case {"person": condition}:
            own = [one for one in events if one.person == event.person]
            return holds([condition], properties_of(own))
    return holds([asked], event.properties)
