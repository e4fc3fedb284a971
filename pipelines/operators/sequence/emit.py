"""Emit what has changed: fold the tails of dirty rows, write the differences, move on.

A batch's dirty rows are brought up to date in one pass, while their memory is at hand: changes,
watermark, timers, and whether the row waits to be logged.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, kernel
from pipelines.columnar.prefetch import NEAR
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.days import day_of
from pipelines.engine.row_kernels import CHANGES, DIRTY, NEWLY_DIRTY, TIMERS, DueTimers, take_place
from pipelines.engine.rows import mark_unlogged
from pipelines.operators.sequence.columns import (
    BASE_DURATION,
    BASE_START,
    EMITTED_DURATION,
    START,
    SequenceColumns,
    SequenceShape,
)
from pipelines.operators.sequence.entries import (
    advance,
    find_or_add_entry,
    max_days,
    prefetch_row,
)
from pipelines.operators.sequence.timers import schedule_row
from pipelines.operators.sequence.watermark import advance_watermark


@kernel
def emit(
    shape: SequenceShape,
    columns: SequenceColumns,
    newly_dirty: Int32s,
    timers: DueTimers,
    begin: Int,
) -> Int:
    """Bring dirty rows up to date, from the `begin`-th on.

    Adds to `newly_dirty` the rows that were not waiting to be logged, and to `timers` those to be
    set; `counters` has the size of both. Returns how many rows are done: fewer than all if the
    changes or the timers are full.
    """
    rows, counters, dirty = columns.rows, columns.counters, columns.dirty
    for i in range(begin, counters[DIRTY]):
        row = np.int64(dirty[i])
        if i + NEAR < counters[DIRTY]:
            prefetch_row(columns, np.int64(dirty[i + NEAR]))
        days = max_days(columns, row)
        if counters[CHANGES] + days * shape.steps > len(columns.changes):
            return i
        if counters[TIMERS] + days > len(timers.due):
            return i
        emit_row(shape, columns, row)
        advance_watermark(shape, columns, row, np.int64(rows[row].watermark))
        counters[TIMERS] = schedule_row(shape, columns, row, timers, counters[TIMERS])
        counters[NEWLY_DIRTY] = mark_unlogged(rows, row, newly_dirty, counters[NEWLY_DIRTY])
    return counters[DIRTY]


@kernel
def emit_row(shape: SequenceShape, columns: SequenceColumns, row: Int) -> None:
    """Fold a row's tail and write what differs from what was emitted.

    If all new events came in order, only they are folded, over what was emitted before them.
    """
    rows, entries, tail = columns.rows, columns.entries, columns.tail
    block, length, emitted = rows[row].block, rows[row].length, rows[row].emitted
    begin, end = np.int64(block + emitted), np.int64(block + length)
    rows[row].emitted = length
    for i in range(begin, end):
        if tail[i].mask & 1:
            find_or_add_entry(shape, columns, row, day_of(shape.days, tail[i].at))
    best: Int = np.int64(rows[row].closed_level)
    e = rows[row].newest_entry
    while e != NONE:
        _fold_tail(shape, columns, np.int64(e), begin, end, emitted != 0)
        best = max(best, _emit_entry(shape, columns, row, np.int64(e)))
        e = entries[e].next_entry
    emitted_level = np.int64(rows[row].emitted_level)
    for step in range(emitted_level, best):
        _write_change(columns, row, TOTAL, step, NONE, 0, 0)
    for step in range(best, emitted_level):
        _write_change(columns, row, TOTAL, step, 0, NONE, 0)
    rows[row].emitted_level = best


@kernel
def _fold_tail(
    shape: SequenceShape, columns: SequenceColumns, e: Int, begin: Int, end: Int, in_order: Int
) -> None:
    """Fold the events from `begin` to `end` over an entry; the result is in the scratch."""
    times, tail = columns.times, columns.tail
    start, duration, reached_at = columns.scratch[0], columns.scratch[1], columns.scratch[2]
    base_start = START if in_order else BASE_START
    base_duration = EMITTED_DURATION if in_order else BASE_DURATION
    day = np.int64(columns.entries[e].day)
    for step in range(shape.steps):
        start[step] = times[e, base_start, step]
        duration[step] = times[e, base_duration, step]
    for i in range(begin, end):
        reached = advance(shape, start, duration, day, tail[i].at, np.int64(tail[i].mask))
        if reached:
            for step in range(shape.steps):
                if (reached >> step) & 1:
                    reached_at[step] = tail[i].at


@kernel
def _emit_entry(shape: SequenceShape, columns: SequenceColumns, row: Int, e: Int) -> Int:
    """Write how the scratch differs from what was emitted of an entry; return its level."""
    times = columns.times
    start, duration, reached_at = columns.scratch[0], columns.scratch[1], columns.scratch[2]
    day = np.int64(columns.entries[e].day)
    level = 0
    for step in range(shape.steps):
        before, after = np.int64(times[e, EMITTED_DURATION, step]), duration[step]
        if after != NONE:
            level = step + 1
        if before != after:
            _write_change(columns, row, day, step, before, after, reached_at[step])
            times[e, EMITTED_DURATION, step] = after
        times[e, START, step] = start[step]
    return level


@kernel
def _write_change(
    columns: SequenceColumns, row: Int, day: Int, step: Int, before: Int, after: Int, at: Int
) -> None:
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].row = row
    changes[i].day = day
    changes[i].step = step
    changes[i].before = before
    changes[i].after = after
    changes[i].at = at
