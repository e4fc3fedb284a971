"""Advance the watermark of a row: what is older than it becomes final."""

import numpy as np

from pipelines.columnar.jit import Int, kernel
from pipelines.engine.arena import release
from pipelines.engine.constants import NONE
from pipelines.operators.sequence.columns import (
    BASE_DURATION,
    BASE_START,
    SequenceColumns,
    SequenceShape,
)
from pipelines.operators.sequence.entries import advance, close_days


@kernel
def advance_watermark(
    shape: SequenceShape, columns: SequenceColumns, row: Int, watermark: Int
) -> None:
    """Move a row's watermark: fold the events before it into the base and close days.

    Everything in the tail must have been emitted.
    """
    rows, entries, times, tail = columns.rows, columns.entries, columns.times, columns.tail
    rows[row].watermark = watermark
    block, length = rows[row].block, np.int64(rows[row].length)
    gone = 0
    while gone < length and tail[block + gone].at < watermark:
        at, mask = tail[block + gone].at, np.int64(tail[block + gone].mask)
        e = rows[row].newest_entry
        while e != NONE:
            day = np.int64(entries[e].day)
            advance(shape, times[e, BASE_START], times[e, BASE_DURATION], day, at, mask)
            e = entries[e].next_entry
        gone += 1
    if gone == length:
        release(columns, row)
        rows[row].emitted = 0
    elif gone > 0:
        for i in range(block, block + length - gone):
            tail[i].at = tail[i + gone].at
            tail[i].mask = tail[i + gone].mask
        rows[row].length = length - gone
        rows[row].emitted = length - gone
    close_days(shape, columns, row, watermark)
