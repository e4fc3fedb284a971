"""Timers of a funnel with options: windows close.

A row has at most one timer, for the window that closes next (`next_due`).
"""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, StructArray, kernel
from pipelines.engine.constants import NEVER
from pipelines.engine.row_kernels import DueTimers
from pipelines.operators.funnel.closing import next_due
from pipelines.operators.funnel.columns import ALL, AT, FunnelColumns
from pipelines.operators.funnel.outcomes import evaluate, max_outcomes
from pipelines.operators.funnel.rules import Rules


@kernel
def schedule(rows: StructArray, which: Int32s, due: Int64s) -> Int:
    """Set the timers of rows that are due earlier than before; return how many are set.

    `due[i]` gets when row `which[i]` is due, 0 if its timer stays as it is.
    """
    count = 0
    for i in range(len(which)):
        row = np.int64(which[i])
        due[i] = 0
        next_due = rows[row].next_due
        if next_due != 0 and (rows[row].timer == 0 or next_due < rows[row].timer):
            rows[row].timer = due[i] = next_due
            count += 1
    return count


@kernel
def find_due(rules: Rules, columns: FunnelColumns, which: Int32s, begin: Int) -> Int:
    """Work out when rows that were unpacked are due next, from the `begin`-th on.

    Returns how many are done: fewer than all if there is no room for the outcomes.
    """
    for i in range(begin, len(which)):
        row = np.int64(which[i])
        length = np.int64(columns.rows[row].length)
        if max_outcomes(rules, length) > len(columns.after.records):
            return i
        _find_due(rules, columns, row)
    return len(which)


@kernel
def _find_due(rules: Rules, columns: FunnelColumns, row: Int) -> Int:
    """Evaluate a row into `columns.after` and set when it is due; return the outcomes' number."""
    rows = columns.rows
    block = rows[row].block
    end = block + rows[row].length
    count = evaluate(rules, columns.tail, block, end, columns.after, columns.reached)
    rows[row].next_due = next_due(rules, columns, row, count)
    return count


@kernel
def expire(
    rules: Rules,
    columns: FunnelColumns,
    now: Int,
    timers: DueTimers,
    timeouts: StructArray,
    begin: Int,
    used: Int,
) -> tuple[Int, Int]:
    """Expire the timers of rows that are due at `now`, from the `begin`-th on.

    Writes to `timeouts`, from place `used` on, the windows that closed. `timers.due` gets when each
    row is due again, 0 for never. Returns how many rows are done (fewer than all if there is no
    room), and the places used.
    """
    rows = columns.rows
    outcomes, numbers = columns.after.records, columns.after.numbers
    for i in range(begin, len(timers.ids)):
        row = np.int64(timers.ids[i])
        length = np.int64(rows[row].length)
        if max_outcomes(rules, length) > len(outcomes) or used + length > len(timeouts):
            return i, used
        if rows[row].timer != timers.due[i]:
            timers.due[i] = 0
            continue
        rows[row].timer = 0
        count = _find_due(rules, columns, row)
        announced = np.int64(rows[row].timed_out_until)
        for o in range(1, count):
            if outcomes[o].scope != ALL:
                continue
            closes = outcomes[o].latest + rules.window
            missed = numbers[o, AT, rules.steps - 1] == NEVER
            if missed and announced <= closes < now:
                rows[row].timed_out_until = now
                timeouts[used].row = row
                timeouts[used].day = outcomes[o].day
                timeouts[used].at = closes
                timeouts[used].step = _last_step(rules, numbers[o])
                used += 1
        _find_due(rules, columns, row)
        rows[row].timer = timers.due[i] = rows[row].next_due
    return len(timers.ids), used


@kernel
def _last_step(rules: Rules, numbers: Int64s) -> Int:
    last = 0
    for step in range(rules.steps):
        if numbers[AT, step] != NEVER:
            last = step
    return last
