"""What time alone does to a funnel with options: windows close, and days can change no more.

A row has at most one timer, for whatever is to be done for it next.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.operators.funnel.chain_kernel import close_days, due_at
from pipelines.operators.funnel.chain_rules import (
    ALL,
    AT,
    NEVER,
    Records,
    Rules,
    cells_needed,
    evaluate,
)
from pipelines.operators.sequence.kernel import NONE


@kernel
def schedule(rows: Records, dirty: Int32s, due: Int64s) -> Int:
    """Set the timers of rows that events have touched.

    `due` gets when each is due, 0 for those whose timers are not to be set; returns how many are.
    """
    count = 0
    for i in range(len(dirty)):
        r = np.int64(dirty[i])
        due[i] = 0
        if rows[r].due != 0 and (rows[r].timer == 0 or rows[r].due < rows[r].timer):
            rows[r].timer = due[i] = rows[r].due
            count += 1
    return count


@kernel
def look(
    rules: Rules,
    rows: Records,
    tail: Records,
    cells: Records,
    numbers: Int64s,
    which: Int32s,
    reached: Int64s,
    begin: Int,
) -> Int:
    """Work out when rows `begin` and following are due, as when they come from the log.

    Returns how many are done: fewer than all if the cells are full.
    """
    for i in range(begin, len(which)):
        r = np.int64(which[i])
        if cells_needed(rules, np.int64(rows[r].length)) > cells.shape[1]:
            return i
        _look(rules, rows, tail, cells, numbers, r, reached)
    return len(which)


@kernel
def _look(
    rules: Rules,
    rows: Records,
    tail: Records,
    cells: Records,
    numbers: Int64s,
    r: Int,
    reached: Int64s,
) -> Int:
    block = rows[r].block
    count = evaluate(rules, tail, block, block + rows[r].length, cells[1], numbers[1], reached)
    rows[r].due = due_at(rules, rows, tail, r, cells[1], numbers[1], count)
    return count


@kernel
def expire(
    rules: Rules,
    rows: Records,
    tail: Records,
    cells: Records,
    numbers: Int64s,
    heads: Int64s,
    now: Int,
    due: Int64s,
    which: Int32s,
    expired: Records,
    reached: Int64s,
    begin: Int,
    used: Int,
) -> tuple[Int, Int]:
    """Look at the rows whose timers are due at `now`, from the `begin`-th on.

    What is found goes into `expired` from line `used` on: a window that closed, or a row that
    differs and is to be logged (its step is NONE). `due` gets the timers that are to be set, or 0.
    Returns how many rows are done (fewer than all if there is no room) and how many lines are used.
    """
    for i in range(begin, len(which)):
        r = np.int64(which[i])
        length = np.int64(rows[r].length)
        if cells_needed(rules, length) > cells.shape[1] or used + length + 1 > len(expired):
            return i, used
        if rows[r].timer != due[i]:
            due[i] = 0
            continue
        rows[r].timer = 0
        count = _look(rules, rows, tail, cells, numbers, r, reached)
        told = np.int64(rows[r].told)
        for c in range(1, count):
            if cells[1, c].scope != ALL:
                continue
            closes = cells[1, c].latest + rules.window
            if numbers[1, c, AT, rules.steps - 1] == NEVER and told <= closes < now:
                rows[r].told = now
                _write(rules, expired, used, r, cells[1, c].day, closes, numbers[1, c])
                used += 1
        if close_days(rules, rows, tail, heads, now, r, reached):
            expired[used].row = r
            expired[used].step = NONE
            used += 1
        _look(rules, rows, tail, cells, numbers, r, reached)
        rows[r].timer = due[i] = rows[r].due
    return len(which), used


@kernel
def _write(
    rules: Rules, expired: Records, line: Int, r: Int, day: Int, closes: Int, numbers: Int64s
) -> None:
    expired[line].row = r
    expired[line].day = day
    expired[line].at = closes
    for step in range(rules.steps):
        if numbers[AT, step] != NEVER:
            expired[line].step = step
