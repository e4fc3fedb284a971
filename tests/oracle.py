"""What a funnel's figures must be, worked out the slow way from the definition alone.

Shares no code with the product. A chain of step k ends at a moment t of step k and starts at a
moment s of step 1 if there are moments s <= t2 <= … <= t, one of each step, with t - s inside the
window. Everything below follows from which chains there are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

DAY_MS = 86_400_000


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
    """Figures by entry day (days since 1970), and in total, each person once."""

    days: dict[int, Day]
    totals: list[int]


def fold(events: Iterable[Happening], steps: int, window_ms: int) -> FoldResult:
    """Return the figures of a funnel of `steps` steps, whatever order the events come in."""
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
        for day in sorted({at // DAY_MS for at in moments[0]}):
            entries = [at for at in moments[0] if at // DAY_MS == day]
            times = times_to_steps(entries, moments[1:], window_ms)
            best = max(best, len(times))
            figures = days.setdefault(day, Day([0] * steps, [[] for _ in range(steps)]))
            for index, time in enumerate(times):
                figures.reached[index] += 1
                figures.times[index].append(time)
        for index in range(best):
            totals[index] += 1
    for figures in days.values():
        for times in figures.times:
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
