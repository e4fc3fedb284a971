"""Timers of a sequence: windows close.

An entry has at most one timer: while steps are missing, it is due when the window has closed.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, kernel
from pipelines.engine.constants import NONE
from pipelines.engine.days import begin_of_day
from pipelines.engine.row_kernels import DueTimers
from pipelines.operators.sequence.columns import (
    EMITTED_DURATION,
    START,
    SequenceColumns,
    SequenceShape,
)
from pipelines.operators.sequence.entries import level_of


@kernel
def schedule(
    shape: SequenceShape, columns: SequenceColumns, which: Int32s, timers: DueTimers
) -> Int:
    """Set the timers of some rows, as `schedule_row`; return how many are written to `timers`.

    It needs room for one per entry.
    """
    count = 0
    for i in range(len(which)):
        count = schedule_row(shape, columns, np.int64(which[i]), timers, count)
    return count


@kernel
def schedule_row(
    shape: SequenceShape, columns: SequenceColumns, row: Int, timers: DueTimers, count: Int
) -> Int:
    """Set the timers of an emitted row, from place `count` on; return the place after the last."""
    entries = columns.entries
    e = np.int64(columns.rows[row].newest_entry)
    while e != NONE:
        due = due_at(shape, columns, e)
        if due != 0 and (entries[e].timer == 0 or due < entries[e].timer):
            entries[e].timer = due
            timers.due[count] = due
            timers.ids[count] = e
            count += 1
        e = np.int64(entries[e].next_entry)
    return count


@kernel
def due_at(shape: SequenceShape, columns: SequenceColumns, e: Int) -> Int:
    """Return when an entry's timer is due, 0 for never."""
    entries, times = columns.entries, columns.times
    level = level_of(shape, times[e, EMITTED_DURATION])
    if level < shape.steps and entries[e].timed_out_level < level:
        begin = begin_of_day(shape.days, np.int64(entries[e].day))
        return begin + times[e, START, 0] + shape.window + 1
    return np.int64(0)
