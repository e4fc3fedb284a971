"""Who must be in a segment at one moment: its rule asked of whole lists of events."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tests.oracles.conditions import holds, instant
from tests.oracles.events import Event, Json, selected


def members(
    rule: Json,
    events: Sequence[Event],
    now: int,
    scores: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> set[str]:
    """The persons of whom a rule without references holds at `now` (ms), as it reads in JSON.

    `scores` has the newest score that each prediction gave a person, by person.
    """
    return {
        person
        for person in {event.person for event in events}
        if rule_holds(
            rule,
            [event for event in events if event.person == person],
            now,
            scores.get(person, {}),
        )
    }


def rule_holds(
    rule: Json,
    own: Sequence[Event],
    now: int,
    scores: Mapping[str, float] = MappingProxyType({}),
) -> bool:
    """Whether a rule holds of the person who did all this, in the order of arrival."""
    match rule:
        case {"and": rules}:
            return all(rule_holds(inner, own, now, scores) for inner in rules)
        case {"or": rules}:
            return any(rule_holds(inner, own, now, scores) for inner in rules)
        case {"not": inner}:
            return not rule_holds(inner, own, now, scores)
        case {"predicted": asked}:
            score = scores.get(asked["prediction"])
            if score is None or score < asked.get("at_least", score):
                return False
            return bool("below" not in asked or score < asked["below"])
        case {"person": conditions}:
            return holds(conditions, properties_of(own))
        case {"performed": asked}:
            return _performed(asked, own, now)
        case {"sequence": asked}:
            return _in_sequence(asked, own)
        case {"first_seen": asked}:
            return _seen(asked, min(_times(asked, own), default=None), now)
        case {"last_seen": asked}:
            return _seen(asked, max(_times(asked, own), default=None), now)
    raise AssertionError(rule)


def properties_of(own: Sequence[Event]) -> dict[str, Any]:
    """What a person is: as said last in `$set`, else as said first in `$set_once`."""
    in_time = sorted(own, key=lambda event: event.at)
    person: dict[str, Any] = {}
    for event in reversed(in_time):
        person |= _said(event, "$set_once")
    for event in in_time:
        person |= _said(event, "$set")
    return person


def _said(event: Event, by: str) -> dict[str, Any]:
    said = event.properties.get(by)
    if not isinstance(said, dict):
        return {}
    # A dot and its escape spell one name.
    return {
        name.replace("%2E", "."): value
        for name, value in said.items()
        if value is not None and not isinstance(value, dict)
    }


def _times(asked: Json, own: Sequence[Event]) -> list[int]:
    return [event.at for event in own if selected(asked, event)]


def _performed(asked: Json, own: Sequence[Event], now: int) -> bool:
    times = _times(asked, own)
    if (within_s := asked.get("within_s")) is not None:
        times = [at for at in times if now - at <= 1_000 * within_s]
    if "at_most" in asked:
        return bool(len(times) <= asked["at_most"])
    if "exactly" in asked:
        return bool(len(times) == asked["exactly"])
    return bool(len(times) >= asked.get("at_least", 1))


def _seen(asked: Json, at: int | None, now: int) -> bool:
    if at is None:
        return False
    match asked:
        case {"before": text}:
            return at < _instant(text)
        case {"after": text}:
            return at > _instant(text)
        case {"within_s": seconds}:
            return bool(now - at <= 1_000 * seconds)
        case {"not_within_s": seconds}:
            return bool(now - at > 1_000 * seconds)
    raise AssertionError(asked)


def _instant(text: str) -> int:
    at = instant(text)
    assert at is not None, text
    return at


def _in_sequence(asked: Json, own: Sequence[Event]) -> bool:
    """Whether there is a chain that begins with any of the first steps."""
    first, *later = asked["steps"]
    window = 1_000 * asked.get("window_s", 7 * 86_400)
    for begin in _times(first, own):
        reached = begin
        for step in later:
            moments = [at for at in _times(step, own) if at >= reached]
            if not moments:
                break
            reached = min(moments)
        else:
            if reached - begin <= window:
                return True
    return False
