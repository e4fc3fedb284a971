"""How an attempt goes through a funnel: the rules of all options, applied to a person's events.

An attempt begins with an event of the first step, or in `any` order of any step. It goes through
the person's events moment by moment, from that of its first event on. At each moment it takes one
step after the other, as long as an event of that moment satisfies a step that may come next: always
the lowest of these steps. It ends when the window closes, at an event that is excluded between the
steps where it is, and in `strict` order at any event that it does not take.

So events of one moment have no order among themselves, and which steps an attempt takes does not
depend on what else the funnel has after them:

- An event that is excluded counts before the steps of its moment, unless it satisfies one that may
  come next, and only if it has the same values that are held constant.
- An event that is not taken ends a strict attempt after the steps of its moment.
- What else happens at the moment at which an attempt begins does not end it.
- Of several events that satisfy a step, the one with the least value (by its hash) is taken. If an
  event is one step at most, an event that satisfies none of the following steps is preferred.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int, Int64s, StructArray, kernel
from pipelines.engine.breakdown import NOT_SET
from pipelines.engine.constants import NEVER, NONE
from pipelines.engine.days import UTC_DAYS, days_in
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
    days: Int64s = UTC_DAYS  # on which attempts begin


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
        days_in(funnel.timezone),
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
    rules: Rules, events: StructArray, i: Int, begin: Int, end: Int, reached: Int64s
) -> tuple[Int, Int]:
    """Run the attempt that event i starts; return its value and the last event that it takes.

    The events from `begin` to `end` are all of the person. `reached` gets the time of each step,
    NEVER for a step that it does not reach; it has room for another number per step behind them.
    """
    for step in range(rules.steps):
        reached[step] = NEVER
    value = NOT_SET if rules.attribution > LAST else events[i].value
    start, held = events[i].at, events[i].held
    every = (1 << rules.steps) - 1
    following = every if rules.any_order else 1  # the steps that may come next, as a mask
    taken = 0  # the steps that it has taken, as a mask
    last = 0  # the number of the last of them; in any order, how many they are
    last_event = i
    first = np.int64(i)
    while first > begin and events[first - 1].at == start:
        first -= 1
    while first < end and events[first].at <= start + rules.window:
        after = first + 1
        while after < end and events[after].at == events[first].at:
            after += 1
        begins = events[first].at == start
        if not begins and _is_ended(rules, events, first, after, held, following, last):
            break
        used = 0
        while following:
            place, step = np.int64(i), _lowest_bit(np.int64(events[i].mask) & every)
            if taken:
                place, step = _next_taken(
                    rules, events, first, after, held, following, reached, used
                )
            if place == NONE:
                break
            used = _use(rules, reached, used, place)
            last_event = max(last_event, place)
            taken |= 1 << step
            last = last + 1 if rules.any_order else step + 1
            reached[last - 1] = events[place].at
            if rules.attribution == LAST or rules.attribution == LAST + last:
                value = events[place].value
            following = every & ~taken if rules.any_order else rules.follows[step]
        if following == 0 or (rules.strict and not begins and used < after - first):
            break
        first = after
    return value, last_event


@kernel
def _next_taken(
    rules: Rules,
    events: StructArray,
    first: Int,
    after: Int,
    held: Int,
    following: Int,
    reached: Int64s,
    used: Int,
) -> tuple[Int, Int]:
    """Return the event of a moment that is taken next, and as which step; NONE if there is none.

    The events of the moment are those from `first` to `after`; `used` of them have been taken.
    """
    fits: Int = 0
    for k in range(first, after):
        if events[k].held == held and not (rules.once and _is_used(rules, reached, used, k)):
            fits |= np.int64(events[k].mask)
    fits &= following
    best: Int = np.int64(NONE)
    step: Int = 0
    if fits:
        step = _lowest_bit(fits)
        for k in range(first, after):
            if (np.int64(events[k].mask) >> step) & 1 == 0 or events[k].held != held:
                continue
            if rules.once and _is_used(rules, reached, used, k):
                continue
            if best == NONE or _is_preferred(rules, events, k, best, step):
                best = k
    return best, step


@kernel
def _is_preferred(rules: Rules, events: StructArray, k: Int, other: Int, step: Int) -> Int:
    """Return whether an event is rather taken as a step than another one of the same moment."""
    if rules.once:
        mask = np.int64(events[k].mask)
        later = ((1 << rules.steps) - 1) & ~((2 << step) - 1)
        differ = (mask ^ np.int64(events[other].mask)) & later
        if differ:
            return mask & differ & -differ == 0
    return events[k].value < events[other].value


@kernel
def _use(rules: Rules, reached: Int64s, used: Int, place: Int) -> Int:
    """Note that an event is taken; return how many events of the moment are taken by now."""
    if _is_used(rules, reached, used, place):
        return used
    reached[rules.steps + used] = place
    return used + 1


@kernel
def _is_used(rules: Rules, reached: Int64s, used: Int, place: Int) -> Int:
    found = False
    for k in range(rules.steps, rules.steps + used):
        found |= reached[k] == place
    return found


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
            _, last_event = run_attempt(rules, events, i, begin, end, reached)
            if last_event >= first_new:
                return True
    return False


@kernel
def _is_ended(
    rules: Rules,
    events: StructArray,
    first: Int,
    after: Int,
    held: Int,
    following: Int,
    last: Int,
) -> Int:
    """Return whether an event of a moment ends an attempt before the steps of that moment."""
    for k in range(first, after if len(rules.exclusions) else first):
        mask = np.int64(events[k].mask)
        if events[k].held == held and mask & following == 0 and _is_excluded(rules, mask, last):
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
