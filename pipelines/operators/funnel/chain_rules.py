"""How a chain of a funnel goes on: the rules of all options, applied to one person's events.

A chain begins with an entry, which is an event of the first step, or in `any` order of any step. It
then goes through the person's events one by one, and takes those that satisfy a step that may come
next. It is over when the window closes, at an event that is excluded where the chain is, and if the
order is strict, at any event that it does not take.

What is true of a person follows from their chains alone. `evaluate` works it out from the person's
events, from the beginning, whenever they change: that is slower than carrying every chain on, but
late events, optional steps and all other options need no thought. Events stand in order: by time,
those of one moment by the steps they satisfy (the last of them decides, none is before all).

What is found is written into cells: one a day, and one for all days (`TOTAL`); and if the funnel is
broken down by a property, one for each of its values on each day, and on all.
"""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.breakdown import NOT_SET
from pipelines.engine.operator import TOTAL
from pipelines.operators.sequence.kernel import DAY_MS

Records: TypeAlias = Any  # an array of one of the types below, which type checkers cannot tell

# An event that a funnel looks at. It is a summary of days that are over if its time is `CLOSED`:
# `mask` then has the steps reached on them by chains of that value.
EVENT: Final = np.dtype(
    [
        ("at", np.int64),
        ("held", np.uint64),  # stands for the values of the properties that are held constant
        ("value", np.uint64),  # stands for that of the property that figures are broken down by
        ("mask", np.uint32),
    ],
    align=True,
)
CLOSED: Final = -(2**62)
NEVER: Final = CLOSED - 1  # a time that is none

CELL: Final = np.dtype(
    [
        ("day", np.int64),
        ("latest", np.int64),  # the day's latest entry
        ("value", np.uint64),
        ("scope", np.int64),  # ALL of the day's chains, or those of the VALUE
    ]
)
ALL, VALUE = 0, 1
# The numbers of cell c are `numbers[c]`, shape (3, steps):
AT: Final = 0  # when the step was first reached, NEVER if it was not
START: Final = 1  # the latest begin of the chains that reached it then
COUNT: Final = 2  # how many chains reached it

EXCLUDED: Final = np.dtype([("look", np.int64), ("after", np.int64), ("before", np.int64)])


NOBODY, FIRST, LAST = range(3)


class Rules(NamedTuple):
    """What a funnel's definition comes down to, for kernels."""

    steps: int
    window: int  # ms
    lateness: int  # ms
    any_order: bool
    strict: bool
    once: bool
    entries: bool  # chains are counted, besides persons
    attribution: int  # whose value is a chain's: NOBODY, FIRST, LAST, or LAST + n for step n
    follows: Int64s  # of each step, those that may come next, as a mask
    excluded: NDArray[Any]  # looks (by number) that end a chain between two steps (from 1)


@kernel
def day_of(at: Int) -> Int:
    """The day (UTC) of a time, from 1970."""
    return at // DAY_MS


@kernel
def is_entry(rules: Rules, mask: Int) -> Int:
    """Whether an event begins a chain."""
    return mask & ((1 << rules.steps) - 1 if rules.any_order else 1)


@kernel
def run_chain(rules: Rules, events: Records, i: Int, end: Int, reached: Int64s) -> tuple[Int, Int]:
    """Run the chain that begins with event i; returns its value, and the last event it takes.

    `reached` gets the time of each step, or NEVER.
    """
    reached[:] = NEVER
    value = NOT_SET if rules.attribution > LAST else events[i].value
    begin, held = events[i].at, events[i].held
    every = (1 << rules.steps) - 1
    nexts = every if rules.any_order else 1
    taken = last = 0  # the steps taken; the number of the last of them, or how many in any order
    newest = i
    for j in range(i, end):
        if events[j].at > begin + rules.window:
            break
        mask = np.int64(events[j].mask)
        fits = mask & nexts if events[j].held == held else 0
        if fits == 0 and (rules.strict or _is_excluded(rules, mask, last)):
            break
        if fits:
            newest = j
        while fits:
            step = _lowest(fits)
            taken |= 1 << step
            last = last + 1 if rules.any_order else step + 1
            reached[last - 1] = events[j].at
            if rules.attribution == LAST or rules.attribution == LAST + last:
                value = events[j].value
            nexts = every & ~taken if rules.any_order else rules.follows[step]
            fits = 0 if rules.once else mask & nexts
        if nexts == 0:
            break
    return value, newest


@kernel
def takes_up(
    rules: Rules, events: Records, begin: Int, newly_dirty: Int, end: Int, reached: Int64s
) -> bool:
    """Whether a chain begins with an event from `fresh` on, or takes one: else nothing is new."""
    for i in range(newly_dirty, end):
        if is_entry(rules, np.int64(events[i].mask)):
            return True
    for i in range(begin, newly_dirty if newly_dirty < end else begin):
        if events[i].at == CLOSED or events[i].at + rules.window < events[newly_dirty].at:
            continue
        if is_entry(rules, np.int64(events[i].mask)):
            _, newest = run_chain(rules, events, i, end, reached)
            if newest >= newly_dirty:
                return True
    return False


@kernel
def _is_excluded(rules: Rules, mask: Int, last: Int) -> bool:
    for k in range(len(rules.excluded)):
        one = rules.excluded[k]
        if (mask >> one.look) & 1 and one.after <= last < one.before:
            return True
    return False


@kernel
def _lowest(bits: Int) -> Int:
    place = 0
    while not (bits >> place) & 1:
        place += 1
    return place


@kernel
def cells_needed(rules: Rules, length: Int) -> Int:
    """How many cells so many events come to at most."""
    return 1 + length if rules.attribution == NOBODY else 1 + 3 * length


@kernel
def evaluate(
    rules: Rules,
    events: Records,
    begin: Int,
    end: Int,
    cells: Records,
    numbers: Int64s,
    reached: Int64s,
) -> Int:
    """Work out what is true of the person whose events are those from `begin` to `end`.

    Returns the number of cells. The cell of all days is the first; in it, what has been reached has
    the time 0, and chains of days that are closed are not counted.
    """
    _clear(rules, cells, numbers, 0, TOTAL, ALL, NOT_SET)
    count = 1
    for i in range(begin, end):
        mask, day = np.int64(events[i].mask), day_of(events[i].at)
        if events[i].at == CLOSED:
            value = events[i].value
            for step in range(rules.steps):
                reached[step] = 0 if (mask >> step) & 1 else NEVER
        elif is_entry(rules, mask):
            value, _ = run_chain(rules, events, i, end, reached)
        else:
            continue
        chains = 0 if events[i].at == CLOSED else 1
        for scope in range(2 if rules.attribution != NOBODY else 1):
            if chains:
                c = find_cell(cells, count, day, scope, value)
                if c == count:
                    _clear(rules, cells, numbers, c, day, scope, value)
                    count += 1
                cells[c].latest = events[i].at
                _add(rules, numbers[c], reached, events[i].at)
            c = find_cell(cells, count, TOTAL, scope, value) if scope == VALUE else 0
            if c == count:
                _clear(rules, cells, numbers, c, TOTAL, scope, value)
                count += 1
            _add_whole(rules, numbers[c], reached, chains)
    return count


@kernel
def find_cell(cells: Records, count: Int, day: Int, scope: Int, value: Int) -> Int:
    """The place of a cell; `count`, which is the next one, if there is none."""
    for c in range(count - 1, -1, -1):
        if cells[c].day != day or cells[c].scope != scope:
            continue
        if scope == ALL or cells[c].value == value:
            return c
    return count


@kernel
def _clear(
    rules: Rules,
    cells: Records,
    numbers: Int64s,
    c: Int,
    day: Int,
    scope: Int,
    value: Int,
) -> None:
    cells[c].day = day
    cells[c].scope = scope
    cells[c].value = value
    for step in range(rules.steps):
        numbers[c, AT, step] = numbers[c, START, step] = NEVER
        numbers[c, COUNT, step] = 0


@kernel
def _add(rules: Rules, cell: Int64s, reached: Int64s, begin: Int) -> None:
    for step in range(rules.steps):
        at = reached[step]
        if at == NEVER:
            continue
        cell[COUNT, step] += 1
        if cell[AT, step] == NEVER or at < cell[AT, step]:
            cell[AT, step] = at
            cell[START, step] = begin
        elif at == cell[AT, step]:
            cell[START, step] = max(cell[START, step], begin)


@kernel
def _add_whole(rules: Rules, cell: Int64s, reached: Int64s, chains: Int) -> None:
    for step in range(rules.steps):
        if reached[step] != NEVER:
            cell[AT, step] = cell[START, step] = 0
            cell[COUNT, step] += chains
