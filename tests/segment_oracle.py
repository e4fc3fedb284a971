"""Segments by their definition: asked of whole lists of events, in plain Python, at one moment."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.matching.conditions import compile_conditions
from schemas.conditions import Condition
from schemas.operators.segment import EventSequence, Performed, Rule, Seen
from schemas.time.rfc3339 import read_time


class Happening(NamedTuple):
    """What a person did, in the order of arrival."""

    person: int
    event: str
    at: int
    properties: dict[str, Any]


def members(rule: Rule, happenings: Sequence[Happening], now: int) -> set[int]:
    """The persons of whom a rule without references holds."""
    return {
        person
        for person in {happening.person for happening in happenings}
        if holds(rule, [one for one in happenings if one.person == person], now)
    }


def holds(rule: Rule, own: Sequence[Happening], now: int) -> bool:
    """Whether a rule holds of who did all this."""
    if rule.and_:
        return all(holds(inner, own, now) for inner in rule.and_)
    if rule.or_:
        return any(holds(inner, own, now) for inner in rule.or_)
    if rule.not_ is not None:
        return not holds(rule.not_, own, now)
    if rule.person:
        person = _properties(own)
        return compile_conditions(rule.person)(person)
    if rule.performed is not None:
        return _performed(rule.performed, own, now)
    if rule.sequence is not None:
        return _sequence(rule.sequence, own)
    if rule.first_seen is not None:
        return _seen(rule.first_seen, min(_times(rule.first_seen, own), default=None), now)
    assert rule.last_seen is not None
    return _seen(rule.last_seen, max(_times(rule.last_seen, own), default=None), now)


def _properties(own: Sequence[Happening]) -> dict[str, Any]:
    person: dict[str, Any] = {}
    for one in sorted(own, key=lambda one: one.at)[::-1]:
        person |= _said(one, "$set_once")
    for one in sorted(own, key=lambda one: one.at):
        person |= _said(one, "$set")
    return person


def _said(one: Happening, by: str) -> dict[str, Any]:
    said = one.properties.get(by)
    if not isinstance(said, dict):
        return {}
    return {
        name: value
        for name, value in said.items()
        if value is not None and not isinstance(value, dict)
    }


def _is(event: str | None, where: Sequence[Condition], one: Happening) -> bool:
    return event in {None, one.event} and compile_conditions(where)(one.properties)


def _times(asked: Performed | Seen, own: Sequence[Happening]) -> list[int]:
    return [one.at for one in own if _is(asked.event, asked.where, one)]


def _performed(performed: Performed, own: Sequence[Happening], now: int) -> bool:
    times = _times(performed, own)
    if performed.within_s is not None:
        times = [at for at in times if now - at <= 1_000 * performed.within_s]
    if performed.at_most is not None:
        return len(times) <= performed.at_most
    if performed.exactly is not None:
        return len(times) == performed.exactly
    return len(times) >= (performed.at_least or 1)


def _seen(seen: Seen, at: int | None, now: int) -> bool:
    if at is None:
        return False
    if seen.before is not None:
        return at < _time(seen.before)
    if seen.after is not None:
        return at > _time(seen.after)
    if seen.within_s is not None:
        return now - at <= 1_000 * seen.within_s
    assert seen.not_within_s is not None
    return now - at > 1_000 * seen.not_within_s


def _time(text: str) -> int:
    at = read_time(text)
    assert at is not None
    return at


def _sequence(sequence: EventSequence, own: Sequence[Happening]) -> bool:
    """Whether there is a chain that begins with any of the first steps."""
    window = 1_000 * sequence.window_s
    for begin in (one.at for one in own if _is(*_of(sequence, 0), one)):
        reached = begin
        for step in range(1, len(sequence.steps)):
            later = [one.at for one in own if one.at >= reached and _is(*_of(sequence, step), one)]
            if not later:
                break
            reached = min(later)
        else:
            if reached - begin <= window:
                return True
    return False


def _of(sequence: EventSequence, step: int) -> tuple[str | None, Sequence[Condition]]:
    asked = sequence.steps[step]
    return asked.event, asked.where
