"""Close days: their events go, and a summary of the steps reached on them stays.

Only a person's own events close their days. Time alone closes none: events of the past may come at
any time, and those that come in order of time are never late.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.arena import release
from pipelines.engine.constants import NEVER
from pipelines.engine.days import begin_of_day, day_of
from pipelines.operators.funnel.columns import ALL, AT, CLOSED, FunnelColumns
from pipelines.operators.funnel.rules import Rules, run_attempt, starts_attempt


@kernel
def close_days(rules: Rules, columns: FunnelColumns, row: Int) -> Int:
    """Close the days before the row's watermark; return whether any events went.

    `columns.before` is overwritten.
    """
    rows, tail, reached = columns.rows, columns.tail, columns.reached
    block, length = np.int64(rows[row].block), np.int64(rows[row].length)
    first_open = open_from(rules, columns, row)
    end = gone = block + length
    while gone > block and tail[gone - 1].at >= first_open:
        gone -= 1
    if gone == block or tail[gone - 1].at == CLOSED:
        return False
    # Attempts that begin at one moment need each other's events, so all are run before any event
    # is overwritten. Until then their steps and values are where the outcomes before were.
    scratch = columns.before.records
    for place in range(block, gone):
        i: Int = place - block
        mask: Int = np.int64(tail[place].mask)
        scratch[i].day = 0
        if tail[place].at == CLOSED:
            scratch[i].day = mask
            scratch[i].value = tail[place].value
        elif starts_attempt(rules, mask):
            value, _ = run_attempt(rules, tail, place, block, end, reached)
            scratch[i].day = _steps_in(rules, reached)
            scratch[i].value = value
    kept = block
    for i in range(gone - block):
        if scratch[i].day:
            kept = _summarize(columns, block, kept, scratch[i].day, scratch[i].value)
    for place in range(gone, end):
        tail[kept] = tail[place]
        kept += 1
    rows[row].length = kept - block
    if kept == block:
        release(columns, row)
    return True


@kernel
def next_due(rules: Rules, columns: FunnelColumns, row: Int, count: Int) -> Int:
    """Return when a window of a row closes next, 0 for never.

    `columns.after` has the row's outcomes, `count` of them.
    """
    outcomes, numbers = columns.after.records, columns.after.numbers
    rows = columns.rows
    due = np.int64(0)
    for o in range(1, count):
        if outcomes[o].scope != ALL:
            continue
        if begin_of_day(rules.days, outcomes[o].day) < open_from(rules, columns, row):
            continue  # the day is closed
        closes = outcomes[o].latest + rules.window
        if numbers[o, AT, rules.steps - 1] == NEVER and closes >= rows[row].timed_out_until:
            due = closes + 1 if due == 0 else min(due, closes + 1)
    return due


@kernel
def open_from(rules: Rules, columns: FunnelColumns, row: Int) -> Int:
    """Return when the row's oldest day that is not closed begins."""
    oldest = day_of(rules.days, columns.rows[row].watermark - rules.window)
    return begin_of_day(rules.days, oldest)


@kernel
def first_open_at(columns: FunnelColumns, row: Int) -> Int:
    """Return the time of the row's first event that is no summary, `CLOSED` if there is none."""
    tail, block = columns.tail, columns.rows[row].block
    for place in range(block, block + columns.rows[row].length):
        if tail[place].at != CLOSED:
            return tail[place].at
    return CLOSED


@kernel
def _steps_in(rules: Rules, reached: Int64s) -> Int:
    """Return the steps that an attempt reached, as a mask."""
    mask = 0
    for step in range(rules.steps):
        if reached[step] != NEVER:
            mask |= 1 << step
    return mask


@kernel
def _summarize(columns: FunnelColumns, block: Int, kept: Int, mask: Int, value: Int) -> Int:
    """Add steps to the summary of a value; return where the summaries, from `block` on, end.

    A new summary overwrites an event that no attempt needs any more.
    """
    tail = columns.tail
    for place in range(block, kept):
        if tail[place].value == value:
            tail[place].mask |= np.uint32(mask)
            return kept
    tail[kept].at = CLOSED
    tail[kept].mask = mask
    tail[kept].held = 0
    tail[kept].value = value
    return kept + 1
