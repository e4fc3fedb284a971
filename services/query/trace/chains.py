"""Follows the chains of one person through a funnel, event after event. Pure.

It shares nothing with the kernels of the stream and the statements of ClickHouse, which give the
same figures: here each chain is followed by itself, moment by moment, so that it can be said of
each event what it did.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from schemas.operators.funnel import Funnel

Code = Literal[
    "began",
    "restarted",
    "step_reached",
    "already_reached",
    "too_early",
    "condition_not_met",
    "held_property_differs",
    "excluded",
    "interrupted",
    "window_closed",
    "no_effect",
]
End = Literal["completed", "excluded", "interrupted", "window_closed", "open"]


class Happening(NamedTuple):
    """An event of the person: the steps and exclusions (both from 1) that it satisfies.

    `held` are the values of the properties that are held constant, `value` is that of the
    breakdown, as tokens. Of several events of a moment, those of lesser `order` come first.
    """

    at: int
    event: str
    steps: frozenset[int]
    exclusions: frozenset[int]
    held: tuple[str, ...] = ()
    value: str = ""
    order: int = 0


class Effect(NamedTuple):
    """What an event, by its place, did to a chain; `ms` is how long the window had been closed."""

    place: int
    code: Code
    step: int = 0
    ms: int = 0


class Taken(NamedTuple):
    """A step that a chain took: as which number, and the place of its event."""

    number: int
    step: int
    place: int


class Chain(NamedTuple):
    """A chain, from the event that began it to its end, and what events did to it."""

    begin: int
    closes_at: int
    taken: list[Taken]
    effects: list[Effect]
    end: End

    @property
    def reached(self) -> dict[int, int]:
        """The place of the event by which each step was reached."""
        return {one.number: one.place for one in self.taken}


def chains(funnel: Funnel, line: Sequence[Happening], clock: int) -> Iterator[Chain]:
    """Yield the chains that a person's events begin, in order of time.

    `line` is in order of time. A chain whose window is open at `clock` (ms) may go on.
    """
    for place, event in enumerate(line):
        if event.steps if funnel.order == "any" else 1 in event.steps:
            yield _Follower(funnel, line, place).follow(clock)


def value_of(funnel: Funnel, line: Sequence[Happening], chain: Chain) -> str:
    """Return the token of the value by which a chain is counted; empty for none."""
    if funnel.breakdown is None:
        return ""
    match funnel.breakdown.attribution:
        case "first":
            return line[chain.taken[0].place].value
        case "last":
            return line[chain.taken[-1].place].value
        case number:
            place = chain.reached.get(number)
            return "" if place is None else line[place].value


class _Follower:
    """One chain, while it is followed."""

    def __init__(self, funnel: Funnel, line: Sequence[Happening], begin: int) -> None:
        self._funnel, self._line, self._begin = funnel, line, begin
        self._count = len(funnel.steps)
        self._entry = line[begin]
        self._closes_at = self._entry.at + 1_000 * funnel.window_s
        self._taken: list[Taken] = []
        self._effects: list[Effect] = []

    def follow(self, clock: int) -> Chain:
        """Return the chain, with what each event did to it."""
        end = self._end(clock)
        return Chain(self._begin, self._closes_at, self._taken, self._effects, end)

    def _end(self, clock: int) -> End:
        first = next(i for i, event in enumerate(self._line) if event.at == self._entry.at)
        later = range(first, len(self._line))
        for at, group in groupby(later, key=lambda place: self._line[place].at):
            places = list(group)
            if at > self._closes_at:
                if self._note_closed(places, at - self._closes_at):
                    return "window_closed"
                continue
            if at > self._entry.at and self._exclude(places):
                return "excluded"
            could = self._possible()
            used = self._take(places)
            could |= self._possible()
            unused = [place for place in places if place not in used]
            if self._complete:
                return "completed"
            if self._funnel.order == "strict" and at > self._entry.at and unused:
                self._effects += [Effect(place, "interrupted") for place in unused]
                return "interrupted"
            for place in unused:
                self._effects.append(self._unused(place, could))
        return "window_closed" if clock > self._closes_at else "open"

    # ── what may happen ──────────────────────────────────────────────────────────────────────────

    @property
    def _complete(self) -> bool:
        if self._funnel.order == "any":
            return len(self._taken) == self._count
        return bool(self._taken) and self._taken[-1].step == self._count

    @property
    def _last(self) -> int:
        return self._taken[-1].number if self._taken else 0

    def _may_come(self, step: int) -> bool:
        if self._funnel.order == "any":
            return all(step != one.step for one in self._taken)
        between = self._funnel.steps[self._last : step - 1]
        return step > self._last and all(one.optional for one in between)

    def _possible(self) -> set[int]:
        """Return the steps that may come next."""
        return {step for step in range(1, self._count + 1) if self._may_come(step)}

    def _next_of(self, place: int) -> list[int]:
        """Return the steps that a chain may take next by an event, the lowest first."""
        event = self._line[place]
        if event.held != self._entry.held:
            return []
        return [step for step in sorted(event.steps) if self._may_come(step)]

    # ── what events do ───────────────────────────────────────────────────────────────────────────

    def _take(self, places: Sequence[int]) -> set[int]:
        """Take the steps of a moment, the lowest first; returns the events that are steps."""
        used: set[int] = set()
        while not self._complete:
            able = places if self._taken else [self._begin]
            if self._funnel.once:
                able = [place for place in able if place not in used]
            choices = [
                (step, self._spare(place, step), self._line[place].order, place)
                for place in able
                for step in self._next_of(place)
            ]
            if not choices:
                break
            step, _, _, place = min(choices)
            used.add(place)
            number = len(self._taken) + 1 if self._funnel.order == "any" else step
            self._taken.append(Taken(number, step, place))
            self._effects.append(Effect(place, "step_reached", number))
        return used

    def _spare(self, place: int, step: int) -> tuple[bool, ...]:
        """Return which later steps an event could be instead, if it can be one step only."""
        if not self._funnel.once:
            return ()
        steps = self._line[place].steps
        return tuple(later in steps for later in range(step + 1, self._count + 1))

    def _exclude(self, places: Sequence[int]) -> bool:
        """End the chain if an event of a moment excludes it; none that could be its next step."""
        ended = False
        for place in places:
            event = self._line[place]
            if event.held != self._entry.held or self._next_of(place):
                continue
            for number in event.exclusions:
                one = self._funnel.exclusions[number - 1]
                if one.after <= self._last < (one.before or self._count):
                    self._effects.append(Effect(place, "excluded", self._last))
                    ended = True
                    break
        return ended

    def _note_closed(self, places: Sequence[int], ms: int) -> bool:
        """Note the first event that would have been the next step, had the window been open."""
        for place in places:
            steps = self._next_of(place)
            if steps:
                self._effects.append(Effect(place, "window_closed", steps[0], ms))
                return True
        return False

    def _unused(self, place: int, could: set[int]) -> Effect:
        """Return why an event within the window is no step of the chain.

        `could` are the steps that might have come before or within the moment.
        """
        event = self._line[place]
        fits = sorted(event.steps & could)
        if fits and event.held != self._entry.held:
            return Effect(place, "held_property_differs", fits[0])
        reached = {one.step for one in self._taken}
        if event.steps & reached or (event.steps and max(event.steps) <= self._last):
            return Effect(place, "already_reached", min(event.steps))
        if event.steps:
            return Effect(place, "too_early", min(event.steps))
        for step in sorted(could):
            if self._funnel.steps[step - 1].event == event.event:
                return Effect(place, "condition_not_met", step)
        return Effect(place, "no_effect")
