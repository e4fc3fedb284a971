"""Expire the timers of a sequence that are due.

Time alone moves no watermark: events of the past may come at any time, and those that come in order
of time are never late.
"""

import numpy as np

from pipelines.columnar.jit import Int, StructArray, kernel
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
from pipelines.operators.sequence.timers import due_at


@kernel
def expire(
    shape: SequenceShape,
    columns: SequenceColumns,
    now: Int,
    timers: DueTimers,
    timeouts: StructArray,
) -> None:
    """Expire the timers of entries that are due at `now`; `timeouts[i]` gets what became of i."""
    entries, times = columns.entries, columns.times
    for i in range(len(timers.ids)):
        e = np.int64(timers.ids[i])
        timeouts[i].row = NONE
        timeouts[i].step = NONE
        timeouts[i].due = 0
        if entries[e].timer != timers.due[i]:
            continue  # it was set to another time, or the entry was freed
        entries[e].timer = 0
        row, day = np.int64(entries[e].row), np.int64(entries[e].day)
        level = level_of(shape, times[e, EMITTED_DURATION])
        closes = begin_of_day(shape.days, day) + times[e, START, 0] + shape.window
        if level < shape.steps and entries[e].timed_out_level < level and closes < now:
            entries[e].timed_out_level = level
            timeouts[i].row = row
            timeouts[i].step = level - 1
            timeouts[i].day = day
            timeouts[i].at = closes
        entries[e].timer = timeouts[i].due = due_at(shape, columns, e)
