"""The features of a person and what a prediction asks, in the plainest Python.

Every feature is worked out from the whole list of the person's events at each question, by the
formulas that are documented; nothing is kept from one event to the next.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.oracles.events import Event, Json, selected

HOUR = 3_600.0
DAY = 86_400.0


class Question(NamedTuple):
    """A question: at which place of the log it was asked, by whom, when, and its features."""

    place: int
    person: str
    at: int
    features: dict[str, float]


class Outcome(NamedTuple):
    """An event that passes the goal, and the clock before it."""

    place: int
    person: str
    at: int
    value: float
    clock: int | None


def asked(body: Json, log: Sequence[Event]) -> list[Question]:
    """Return what the events of a log ask, without sampling or cap."""
    found = []
    clock = -math.inf
    horizon = 1_000 * (body["within_s"] + body.get("lateness_s", 300))
    for place, event in enumerate(log):
        clock = max(clock, event.at)
        mine = [other for other in log[: place + 1] if other.person == event.person]
        newest = all(other.at <= event.at for other in mine)
        if selected(body.get("at", {}), event) and newest and event.at + horizon >= clock:
            found.append(Question(place, event.person, event.at, features(body, mine)))
    return found


def outcomes(body: Json, log: Sequence[Event]) -> list[Outcome]:
    """Return all events that pass the goal and have the value, if one is predicted."""
    found = []
    clock: int | None = None
    for place, event in enumerate(log):
        value = number(event, body["value"]) if body.get("target") == "value" else 1.0
        if selected(body["goal"], event) and value is not None:
            found.append(Outcome(place, event.person, event.at, value, clock))
        clock = event.at if clock is None else max(clock, event.at)
    return found


def answers(body: Json, questions: Sequence[Question], log: Sequence[Event]) -> list[float | None]:
    """Return the value of the first event that answers each question, None without one."""
    found: list[float | None] = []
    horizon, lateness = 1_000 * body["within_s"], 1_000 * body.get("lateness_s", 300)
    happened = outcomes(body, log)
    for question in questions:
        due = question.at + horizon + lateness
        fitting = [
            (outcome.at, outcome.place, outcome.value)
            for outcome in happened
            if outcome.person == question.person
            and outcome.place > question.place
            and question.at <= outcome.at <= question.at + horizon
            and (outcome.clock is None or outcome.clock <= due)
        ]
        found.append(min(fitting)[2] if fitting else None)
    return found


def features(body: Json, log: Sequence[Event]) -> dict[str, float]:
    """Return all features of a person as of the last of their events, which is the newest."""
    t = log[-1].at
    in_order = [
        event for place, event in enumerate(log) if all(e.at <= event.at for e in log[:place])
    ]
    times = [event.at for event in in_order]
    gaps = [(b - a) / 1_000 for a, b in itertools.pairwise(times)]
    session = _session(in_order)
    mean = sum(gaps) / len(gaps) if gaps else 0.0
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps) if gaps else 0.0
    begins = 1 + sum(gap > 1_800 for gap in gaps)
    rates = [_decayed(log, t, life) / life for life in (300, HOUR, DAY, 7 * DAY)]
    minute = t // 60_000 % 1_440
    found = {
        "recency": math.log1p(gaps[-1]) if gaps else 0.0,
        "frequency": math.log1p(len(log)),
        "tenure": math.log1p((t - min(event.at for event in log)) / 1_000),
        "sessions": math.log1p(begins),
        "session_depth": math.log1p(len(session)),
        "session_age": math.log1p((t - session[0].at) / 1_000),
        "active_days": math.log1p(len({event.at // 86_400_000 for event in in_order})),
        "gap_mean": math.log1p(mean),
        "gap_variation": math.sqrt(variance) / mean if mean > 0 else 0.0,
        "decayed_5m": math.log1p(rates[0] * 300),
        "decayed_1h": math.log1p(rates[1] * HOUR),
        "decayed_1d": math.log1p(rates[2] * DAY),
        "decayed_7d": math.log1p(rates[3] * 7 * DAY),
        "trend_1h": rates[0] / (rates[0] + rates[1]),
        "trend_1d": rates[1] / (rates[1] + rates[2]),
        "trend_7d": rates[2] / (rates[2] + rates[3]),
        "hour_sine": math.sin(2 * math.pi * minute / 1_440),
        "hour_cosine": math.cos(2 * math.pi * minute / 1_440),
        "weekend": float((t // 86_400_000 + 3) % 7 >= 5),
    }
    kinds = {"goal": body["goal"]}
    kinds |= {f"event_{n}": kind for n, kind in enumerate(body.get("events", ()), 1)}
    for name, kind in kinds.items():
        own = [event for event in log if selected(kind, event)]
        since = max((event.at for event in own), default=min(event.at for event in log))
        found[f"{name}_decayed"] = math.log1p(_decayed(own, t, DAY))
        found[f"{name}_share"] = len(own) / len(log)
        found[f"{name}_recency"] = math.log1p((t - since) / 1_000)
    if "amount" in body:
        total = sum(
            (number(event, body["amount"]) or 0.0) * 2 ** -((t - event.at) / 1_000 / (7 * DAY))
            for event in log
        )
        found["amount_decayed"] = math.copysign(math.log1p(abs(total)), total)
        amount = _newest(log, body["amount"]) or 0.0
        found["amount_last"] = math.copysign(math.log1p(abs(amount)), amount)
    if body.get("steps"):
        reached = 0
        for event in session:
            if reached < len(body["steps"]) and selected(body["steps"][reached], event):
                reached += 1
        found["steps_reached"] = reached / len(body["steps"])
    for n, condition in enumerate(body.get("conditions", ()), 1):
        within = [
            event
            for event in log
            if selected(condition["filter"], event)
            and event.at >= t - 1_000 * condition["within_s"]
        ]
        found[f"condition_{n}"] = float(len(within) >= condition.get("at_least", 1))
    if "property" in body:
        last = _newest(log, body["property"])
        found["property_last"] = 0.0 if last is None else last
        found["property_missing"] = float(last is None)
    return found


def number(event: Event, name: str) -> float | None:
    """Return the number that an event has in a property; None if it has none."""
    value: Any = event.properties.get(name)
    return float(value) if isinstance(value, (int, float)) and value is not True else None


def _newest(log: Sequence[Event], name: str) -> float | None:
    set_at = [
        (event.at, place, number(event, name))
        for place, event in enumerate(log)
        if number(event, name) is not None
    ]
    return max(set_at)[2] if set_at else None


def _session(in_order: Sequence[Event]) -> list[Event]:
    session: list[Event] = []
    for event in in_order:
        if session and event.at - session[-1].at > 1_800_000:
            session = []
        session.append(event)
    return session


def _decayed(log: Sequence[Event], t: int, half_life: float) -> float:
    return sum(2 ** -((t - event.at) / 1_000 / half_life) for event in log)
