"""How persons come back, and what they do in a row, worked out person by person."""

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tests.oracles.events import Event


def by_person(events: Sequence[Event]) -> dict[str, list[Event]]:
    """Each person's events in order of time; equal times in order of arrival."""
    found: dict[str, list[Event]] = {}
    for one in sorted(events, key=lambda of: of.at):
        found.setdefault(one.person, []).append(one)
    return found


def lifecycle(events: Sequence[Event], bounds: Sequence[int]) -> dict[str, list[int]]:
    """How many are in each state, by interval.

    `bounds` are the beginnings of the interval before, of those asked for, and of the one behind.
    """
    count = len(bounds) - 2
    found = {name: [0] * count for name in ("new", "returning", "resurrecting", "dormant")}
    for its in by_person([one for one in events if one.at < bounds[-1]]).values():
        places = {bisect.bisect_right(bounds, one.at) - 1 for one in its}
        first = bisect.bisect_right(bounds, its[0].at) - 1
        for place in range(1, count + 1):
            if place in places:
                state = "returning" if place - 1 in places else "resurrecting"
                found["new" if place == first else state][place - 1] += 1
            elif place - 1 in places:
                found["dormant"][place - 1] += 1
    return found


def stickiness(events: Sequence[Event], bounds: Sequence[int]) -> list[int]:
    """How many persons are active in one interval, in two, and so on."""
    found = [0] * (len(bounds) - 1)
    for its in by_person(events).values():
        places = {
            bisect.bisect_right(bounds, one.at) - 1
            for one in its
            if bounds[0] <= one.at < bounds[-1]
        }
        if places:
            found[len(places) - 1] += 1
    return found


class Session(NamedTuple):
    """A session of one person."""

    person: str
    acts: list[Event]


def sessions(events: Sequence[Event], gap_ms: int, begin: int, end: int) -> list[Session]:
    """The sessions that begin from `begin` to `end`, with their events of a day after it."""
    return [
        Session(person, acts)
        for person, its in by_person(events).items()
        for acts in _split([one for one in its if one.at < end + 86_400_000], gap_ms)
        if begin <= acts[0].at < end
    ]


class Step(NamedTuple):
    """A step of a person's path; `following` is the next event, `end` how the path ends here."""

    person: str
    step: int
    event: str
    following: str | None
    end: str | None


def paths(
    asked: dict[str, Any], events: Sequence[Event], begin: int, end: int, complete_until: int
) -> list[Step]:
    """The steps of all paths in the times from `begin` to `end`, which is out."""
    gap, steps = 1_000 * asked["gap_s"], asked["steps"]
    name = asked.get("start") or asked.get("end") or asked.get("through")
    found = []
    for person, all_its in by_person(events).items():
        its = [one for one in all_its if begin <= one.at < end]
        anchors = [place for place, one in enumerate(its) if name in {None, one.event}]
        if not anchors:
            continue
        anchor = anchors[0]
        first = last = anchor
        if not asked.get("end"):
            while last + 1 < len(its) and last - anchor < steps:
                if its[last + 1].at - its[last].at > gap:
                    break
                last += 1
        if asked.get("end") or asked.get("through"):
            while first > 0 and anchor - first < steps and its[first].at - its[first - 1].at <= gap:
                first -= 1
        for place in range(first, last + 1):
            final = place == last and not asked.get("end") and last - anchor < steps
            is_open = its[place].at + gap >= min(end, complete_until)
            found.append(
                Step(
                    person,
                    place - anchor,
                    its[place].event,
                    its[place + 1].event if place < last else None,
                    ("open" if is_open else "dropped") if final else None,
                )
            )
    return found


def _split(its: Sequence[Event], gap_ms: int) -> Iterator[list[Event]]:
    cuts = [at for at, (a, b) in enumerate(pairwise(its), 1) if b.at - a.at > gap_ms]
    for first, last in pairwise([0, *cuts, len(its)]):
        if first < last:
            yield list(its[first:last])


def counted(names: Sequence[str], top: int) -> list[tuple[str | None, int]]:
    """The most frequent names, equal ones by name, and all others as one."""
    ranked = sorted(Counter(names).items(), key=lambda of: (-of[1], of[0]))
    rest = sum(count for _, count in ranked[top:])
    shown: list[tuple[str | None, int]] = [*ranked[:top]]
    return [*shown, (None, rest)] if rest else shown
