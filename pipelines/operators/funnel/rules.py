"""How an attempt goes through a funnel: the rules of all options, applied to a person's events.

An attempt begins with an event of the first step, or in `any` order of any step. It goes through
the person's later events one by one and takes those that satisfy a step that may come next. It ends
when the window closes, at an event that is excluded between the steps where it is, and in `strict`
order at any event that it does not take.

Events are ordered by time, and at the same time by the steps that they satisfy: those that satisfy
none come first, those of the last step come last.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int, Int64s, StructArray, kernel
from pipelines.engine.breakdown import NOT_SET
from pipelines.engine.constants import NEVER
from pipelines.operators.funnel.columns import CLOSED
from schemas.operators.funnel import Breakdown, Funnel, exclusion_spans, next_steps

# An event that the `selector`-th selector selects ends an attempt between two steps (from 1).
EXCLUSION: Final = np.dtype([("selector", np.int64), ("after", np.int64), ("before", np.int64)])

NOT_BROKEN_DOWN, FIRST, LAST = range(3)


class Rules(NamedTuple):
    """What a funnel's definition comes down to, for kernels."""

    steps: int
    window: int  # ms
    lateness: int  # ms
    any_order: bool
    strict: bool
    once: bool  # an event is taken as one step at most
    entries: bool  # attempts are counted, besides persons
    # Whose value an attempt has: NOT_BROKEN_DOWN, that of its FIRST or LAST event, or LAST + n for
    # that of the event that it takes as step n.
    attribution: int
    follows: Int64s  # for each step, the steps that may come next, as a mask
    exclusions: StructArray


def rules_of(funnel: Funnel, lateness_ms: int) -> Rules:
    """Return the rules of a funnel, whose selectors are as `selectors` returns them."""
    steps = len(funnel.steps)
    return Rules(
        steps,
        1_000 * funnel.window_s,
        lateness_ms,
        funnel.order == "any",
        funnel.order == "strict",
        funnel.once,
        funnel.entries,
        _attribution(funnel.breakdown),
        np.array([next_steps(funnel, step) for step in range(steps)], np.int64),
        np.array(exclusion_spans(funnel), EXCLUSION),
    )


def _attribution(breakdown: Breakdown | None) -> int:
    if breakdown is None:
        return NOT_BROKEN_DOWN
    match breakdown.attribution:
        case "first":
            return FIRST
        case "last":
            return LAST
        case step:
            return LAST + step


@kernel
def starts_attempt(rules: Rules, mask: Int) -> Int:
    """Return whether an event starts an attempt, as a number that is 0 if it does not."""
    return mask & ((1 << rules.steps) - 1 if rules.any_order else 1)


@kernel
def run_attempt(
    rules: Rules, events: StructArray, i: Int, end: Int, reached: Int64s
) -> tuple[Int, Int]:
    """Run the attempt that event i starts; return its value and the last event that it takes.

    `reached` gets the time of each step, NEVER for a step that it does not reach.
    """
    reached[:] = NEVER
    value = NOT_SET if rules.attribution > LAST else events[i].value
    begin, held = events[i].at, events[i].held
    every = (1 << rules.steps) - 1
    following = every if rules.any_order else 1  # the steps that may come next, as a mask
    taken = 0  # the steps that it has taken, as a mask
    last = 0  # the number of the last of them; in any order, how many they are
    last_event = i
    for j in range(i, end):
        if events[j].at > begin + rules.window:
            break
        mask = np.int64(events[j].mask)
        fits = mask & following if events[j].held == held else 0
        if fits == 0 and (rules.strict or _is_excluded(rules, mask, last)):
            break
        if fits:
            last_event = j
        while fits:
            step = _lowest_bit(fits)
            taken |= 1 << step
            last = last + 1 if rules.any_order else step + 1
            reached[last - 1] = events[j].at
            if rules.attribution == LAST or rules.attribution == LAST + last:
                value = events[j].value
            following = every & ~taken if rules.any_order else rules.follows[step]
            fits = 0 if rules.once else mask & following
        if following == 0:
            break
    return value, last_event


@kernel
def changes_attempts(
    rules: Rules, events: StructArray, begin: Int, first_new: Int, end: Int, reached: Int64s
) -> Int:
    """Return whether an event from `first_new` on starts an attempt, or an attempt takes one."""
    for i in range(first_new, end):
        if starts_attempt(rules, np.int64(events[i].mask)):
            return True
    for i in range(begin, first_new if first_new < end else begin):
        if events[i].at == CLOSED or events[i].at + rules.window < events[first_new].at:
            continue
        if starts_attempt(rules, np.int64(events[i].mask)):
            _, last_event = run_attempt(rules, events, i, end, reached)
            if last_event >= first_new:
                return True
    return False


@kernel
def _is_excluded(rules: Rules, mask: Int, last: Int) -> Int:
    for k in range(len(rules.exclusions)):
        exclusion = rules.exclusions[k]
        if (mask >> exclusion.selector) & 1 and exclusion.after <= last < exclusion.before:
            return True
    return False


@kernel
def _lowest_bit(mask: Int) -> Int:
    place = 0
    while not (mask >> place) & 1:
        place += 1
    return place
