"""What the rows come to that a batch touched: one pass over them while they are at hand."""

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import NEAR
from pipelines.engine.rows import note
from pipelines.operators.sequence.kernel import (
    CHANGES,
    TOUCHED,
    Records,
    Shape,
    ask_for_row,
    days_at_most,
    settle,
    show_row,
)
from pipelines.operators.sequence.timers import schedule_row

FRESH, TIMERS, COUNTS = range(3)


@kernel
def show(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    changes: Records,
    heads: Int64s,
    dirty: Int32s,
    newly_dirty: Int32s,
    due: Int64s,
    ids: Int32s,
    counts: Int64s,
    scratch: Int64s,
    begin: Int,
) -> Int:
    """Bring the touched rows up to date, from the `begin`-th of them on.

    What is published of them is, their horizons move, timers that are to be set are written down,
    and so is which rows were logged as they were. `counts` tells how many there are of both.
    Returns how many rows are done: fewer than all if the changes or the timers are full, to be
    called again.
    """
    for i in range(begin, heads[TOUCHED]):
        r = np.int64(dirty[i])
        if i + NEAR < heads[TOUCHED]:
            ask_for_row(rows, entries, times, tail, np.int64(dirty[i + NEAR]))
        days = days_at_most(rows, entries, r)
        if heads[CHANGES] + days * shape.steps > len(changes) or counts[TIMERS] + days > len(due):
            return i
        show_row(shape, rows, entries, times, tail, changes, heads, r, scratch)
        settle(shape, rows, entries, times, tail, heads, r, np.int64(rows[r].watermark))
        counts[TIMERS] = schedule_row(shape, rows, entries, times, r, due, ids, counts[TIMERS])
        counts[FRESH] = note(rows, r, newly_dirty, counts[FRESH])
    return heads[TOUCHED]
