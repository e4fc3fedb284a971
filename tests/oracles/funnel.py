"""What a funnel's figures must be, worked out the slow way from the definition alone.

A chain of step k ends at a moment t of step k and starts at a moment s of step 1 if there are
moments s <= t2 <= … <= t, one of each step, with t - s inside the window. Everything below follows
from which chains there are. A funnel with options has an oracle of its own
(`tests.oracles.funnel_options`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from tests.oracles import funnel_options
from tests.oracles.days import day_of
from tests.oracles.events import Event, Json, selected
from tests.oracles.funnel_options import Figures

OPTIONS = ("exclusions", "once", "hold_constant", "entries", "breakdown")


class Happening(NamedTuple):
    """One event: which steps it satisfies, the first step being 1."""

    person: str
    at_ms: int
    steps: Collection[int]


class Day(NamedTuple):
    """Persons of one entry day: how many reached each step, and after how long, ascending."""

    reached: list[int]
    times: list[list[int]]


class FoldResult(NamedTuple):
    """Figures by entry day (days since 1970) of the time zone, and in total, each person once."""

    days: dict[int, Day]
    totals: list[int]


def figures(funnel: Json, events: Iterable[Event]) -> Figures:
    """Return the figures of a funnel, as its body reads in JSON, in any order of the events."""
    if not is_plain(funnel):
        return funnel_options.figures(funnel, events)
    steps = funnel["steps"]
    happenings = [
        Happening(
            event.person,
            event.at,
            [number for number, step in enumerate(steps, 1) if selected(step, event)],
        )
        for event in events
    ]
    window_ms, timezone = 1_000 * funnel["window_s"], funnel.get("timezone", "UTC")
    folded = fold(happenings, len(steps), window_ms, timezone)
    days = {day: funnel_options.Day(*counted, []) for day, counted in folded.days.items()}
    return Figures(days, folded.totals, [], {}, {})


def is_plain(funnel: Json) -> bool:
    """Whether it is an ordered funnel without any option."""
    optional = any(step.get("optional") for step in funnel["steps"])
    ordered = funnel.get("order", "ordered") == "ordered"
    return ordered and not optional and not any(funnel.get(option) for option in OPTIONS)


def fold(
    events: Iterable[Happening], steps: int, window_ms: int, timezone: str = "UTC"
) -> FoldResult:
    """Return the figures of a plain funnel of `steps` steps, in any order of the events."""
    days: dict[int, Day] = {}
    totals = [0] * steps
    persons: defaultdict[str, list[Happening]] = defaultdict(list)
    for event in events:
        persons[event.person].append(event)
    for own in persons.values():
        moments = [
            sorted({event.at_ms for event in own if step in event.steps})
            for step in range(1, steps + 1)
        ]
        best = 0
        day_by_entry = {at: day_of(at, timezone) for at in moments[0]}
        for day in sorted(set(day_by_entry.values())):
            entries = [at for at, own_day in day_by_entry.items() if own_day == day]
            times = times_to_steps(entries, moments[1:], window_ms)
            best = max(best, len(times))
            counted = days.setdefault(day, Day([0] * steps, [[] for _ in range(steps)]))
            for index, time in enumerate(times):
                counted.reached[index] += 1
                counted.times[index].append(time)
        for index in range(best):
            totals[index] += 1
    for counted in days.values():
        for times in counted.times:
            times.sort()
    return FoldResult(dict(sorted(days.items())), totals)


def times_to_steps(entries: list[int], later: list[list[int]], window_ms: int) -> list[int]:
    """Return the time to each step reached by chains that start at one of `entries`.

    The time to a step is that of the first moment at which a chain of it ends, from the latest
    start of the chains that end there.
    """
    chains = {(at, at) for at in entries}
    times = [0]
    for moments in later:
        chains = {
            (start, at) for start, end in chains for at in moments if end <= at <= start + window_ms
        }
        if not chains:
            break
        first = min(end for _, end in chains)
        times.append(first - max(start for start, end in chains if end == first))
    return times


def simulate(entries: list[int], later: list[list[int]], window_ms: int) -> list[int]:
    """Do the same as `times_to_steps` the way a stream does: one moment after the other."""
    moments = sorted((at, step) for step, ats in enumerate([entries, *later]) for at in ats)
    starts: list[int | None] = [None] * (1 + len(later))
    times: dict[int, int] = {}
    for at, step in moments:
        start = at if step == 0 else starts[step - 1]
        if start is not None and at <= start + window_ms:
            starts[step] = start
            times.setdefault(step, at - start)
    return [times[step] for step in range(len(times))]
