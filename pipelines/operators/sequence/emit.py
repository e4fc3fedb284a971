"""Emit what has changed: fold the tails of dirty rows, write the differences, move on.

A batch's dirty rows are brought up to date in one pass, while their memory is at hand: changes,
watermark, timers, and whether the row waits to be logged.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, kernel
from pipelines.columnar.prefetch import NEAR
from pipelines.engine.constants import NONE, TOTAL, day_of
from pipelines.engine.row_kernels import CHANGES, DIRTY, NEWLY_DIRTY, TIMERS, DueTimers, take_place
from pipelines.engine.rows import note
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
        counters[NEWLY_DIRTY] = note(rows, row, newly_dirty, counters[NEWLY_DIRTY])
    return counters[DIRTY]


@kernel
def emit_row(shape: SequenceShape, columns: SequenceColumns, row: Int) -> None:
    """Fold a row's tail and write what differs from what was emitted.

    If all new events came in order, only they are folded, over what was emitted before them.
    """
    rows, entries, times, tail = columns.rows, columns.entries, columns.times, columns.tail
    block, length, emitted = rows[row].block, rows[row].length, rows[row].emitted
    in_order = emitted != 0
    base_start = START if in_order else BASE_START
    base_duration = EMITTED_DURATION if in_order else BASE_DURATION
    rows[row].emitted = length
    for i in range(block + emitted, block + length):
        if tail[i].mask & 1:
            find_or_add_entry(shape, columns, row, day_of(tail[i].at))
    start, duration, reached_at = columns.scratch[0], columns.scratch[1], columns.scratch[2]
    best: Int = np.int64(rows[row].closed_level)
    e = rows[row].newest_entry
    while e != NONE:
        day = np.int64(entries[e].day)
        for step in range(shape.steps):
            start[step] = times[e, base_start, step]
            duration[step] = times[e, base_duration, step]
        for i in range(block + emitted, block + length):
            reached = advance(shape, start, duration, day, tail[i].at, np.int64(tail[i].mask))
            if reached:
                for step in range(shape.steps):
                    if (reached >> step) & 1:
                        reached_at[step] = tail[i].at
        level = 0
        for step in range(shape.steps):
            before = np.int64(times[e, EMITTED_DURATION, step])
            if duration[step] != NONE:
                level = step + 1
            if before != duration[step]:
                at = reached_at[step]
                _write_change(columns, row, day, step, before, duration[step], at)
                times[e, EMITTED_DURATION, step] = duration[step]
            times[e, START, step] = start[step]
        best = max(best, level)
        e = entries[e].next_entry
    emitted_level = np.int64(rows[row].emitted_level)
    for step in range(emitted_level, best):
        _write_change(columns, row, TOTAL, step, NONE, 0, 0)
    for step in range(best, emitted_level):
        _write_change(columns, row, TOTAL, step, 0, NONE, 0)
    rows[row].emitted_level = best


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
