"""The fold of active persons: in which buckets each was active, and so in which windows they count.

A window is a number of buckets and ends with one of them. A person counts in it once, however often
they were active. So a bucket in which a person was not active before adds them to the windows that
have this bucket and no other one of theirs: the nearest active buckets before it and after it
decide which. All of this is a union, so events may come in any order. An event whose bucket lies
before the row's watermark, which is the bucket of the allowed lateness before the row's newest
event, is late: it is counted and left out.
"""

import numpy as np

from pipelines.columnar.bits import drop, has, put
from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.constants import NONE
from pipelines.engine.row_kernels import CHANGES, accepts, add_row, mark_dirty, take_place
from pipelines.operators.metric.active_columns import LAST_ACTIVE, ActiveColumns, ActiveEvents


@kernel
def fold(windows: Int64s, columns: ActiveColumns, events: ActiveEvents) -> None:
    """Fold events; `windows` are lengths in buckets, the longest last.

    Rows and bits must have room for one more per event, changes for one per event and window, and
    one more per event.
    """
    rows, bits, slots = columns.rows, columns.bits, events.slots
    words = bits.shape[1]
    reach = windows[-1] - 1
    for i in range(len(slots)):
        bucket, watermark, second = events.buckets[i], events.watermarks[i], events.seconds[i]
        row = np.int64(columns.row_of[slots[i]])
        if row == NONE:
            row = add_row(columns, slots[i])
            rows[row].base = watermark - reach
            rows[row].watermark = watermark
            rows[row].last_active = NONE
            bits[row, :] = 0
        if not accepts(columns, row, events.offsets[i], bucket):
            continue
        mark_dirty(columns, row)
        ahead = watermark - rows[row].watermark
        if ahead > 0:
            rows[row].watermark += ahead
            rows[row].base += ahead
            drop(bits, words, row, np.int64(ahead))
        place = np.int64(bucket - rows[row].base)
        if not has(bits, words, row, place):
            _count(windows, columns, row, place)
            put(bits, row, place)
        if second > rows[row].last_active:
            before = np.int64(rows[row].last_active)
            _add(columns, np.int64(LAST_ACTIVE), before, second)
            rows[row].last_active = second


@kernel
def _count(windows: Int64s, columns: ActiveColumns, row: Int, place: Int) -> None:
    """Add the person to the windows that have the bucket at `place` and no other one of theirs."""
    bits = columns.bits
    words = bits.shape[1]
    bucket = np.int64(columns.rows[row].base) + place
    before = after = np.int64(0)  # how far away the nearest active buckets are, 0 if out of reach
    for distance in range(1, windows[-1]):
        if before == 0 and has(bits, words, row, place - distance):
            before = np.int64(distance)
        if after == 0 and has(bits, words, row, place + distance):
            after = np.int64(distance)
    for w in range(len(windows)):
        begin, end = np.int64(0), windows[w]
        if before > 0:
            begin = max(begin, windows[w] - before)
        if after > 0:
            end = min(end, after)
        if begin < end:
            _add(columns, np.int64(w), bucket + begin, bucket + end)


@kernel
def _add(columns: ActiveColumns, window: Int, begin: Int, end: Int) -> None:
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].window = window
    changes[i].begin = begin
    changes[i].end = end
