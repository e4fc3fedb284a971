"""The fold of active persons: in which buckets each was active, and so in which windows they count.

A window is a number of buckets and ends with one of them. A person counts in it once, however often
they were active. So a bucket in which a person was not active before adds them to the windows that
have this bucket and no other one of theirs: the nearest active buckets before it and after it
decide which. All of this is a union, so events may come in any order. An event whose bucket lies
before the row's watermark, which is the bucket of the allowed lateness before the row's newest
event, is late: it is counted and left out.

With a breakdown, a person counts in a window for the value of their last event in it; of several at
the same time, for the value with the greatest hash. The row has the last event of each of its
buckets. A bucket's value counts in the windows that have the bucket and no later active one.
"""

import numpy as np

from pipelines.columnar.bits import drop, has, put
from pipelines.columnar.jit import Int, kernel
from pipelines.engine.constants import NONE
from pipelines.engine.row_kernels import CHANGES, accepts, add_row, mark_dirty, take_place
from pipelines.operators.metric.active_columns import (
    ALL,
    BY_VALUE,
    LAST_ACTIVE,
    ActiveColumns,
    ActiveEvents,
    ActiveShape,
)


@kernel
def fold(shape: ActiveShape, columns: ActiveColumns, events: ActiveEvents) -> None:
    """Fold events.

    Rows and bits must have room for one more per event. Changes must have room for one per event,
    and one per event and window; with a breakdown for three per event and window.
    """
    rows, bits, slots = columns.rows, columns.bits, events.slots
    reach = shape.windows[-1] - 1
    for i in range(len(slots)):
        bucket, watermark = events.buckets[i], events.watermarks[i]
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
        ahead = np.int64(watermark - rows[row].watermark)
        if ahead > 0:
            rows[row].watermark += ahead
            rows[row].base += ahead
            drop(bits, shape.words, row, ahead)
            _drop_values(shape, columns, row, ahead)
        place = np.int64(bucket - rows[row].base)
        if shape.places > 0:
            _count_value(shape, columns, row, place, events.at[i], events.values[i])
        if not has(bits, shape.words, row, place):
            _count(shape, columns, row, place)
            put(bits, row, place)
        second = np.int64(events.at[i] // 1_000)
        if second > rows[row].last_active:
            before = np.int64(rows[row].last_active)
            _add(columns, np.int64(LAST_ACTIVE), before, second)
            rows[row].last_active = second


@kernel
def _count(shape: ActiveShape, columns: ActiveColumns, row: Int, place: Int) -> None:
    """Add the person to the windows that have the bucket at `place` and no other one of theirs."""
    windows = shape.windows
    bucket = np.int64(columns.rows[row].base) + place
    before = _nearest(shape, columns, row, place, -1)
    after = _nearest(shape, columns, row, place, 1)
    for w in range(len(windows)):
        begin, end = np.int64(0), windows[w]
        if before > 0:
            begin = max(begin, windows[w] - before)
        if after > 0:
            end = min(end, after)
        if begin < end:
            _add(columns, np.int64(w), bucket + begin, bucket + end)


@kernel
def _nearest(shape: ActiveShape, columns: ActiveColumns, row: Int, place: Int, step: Int) -> Int:
    """Return how far away the nearest active bucket is, before (-1) or after (1) a place.

    It is 0 if there is none in the reach of the longest window.
    """
    for distance in range(1, shape.windows[-1]):
        if has(columns.bits, shape.words, row, place + step * distance):
            return np.int64(distance)
    return np.int64(0)


@kernel
def _drop_values(shape: ActiveShape, columns: ActiveColumns, row: Int, ahead: Int) -> None:
    """Drop the last events of the first `ahead` buckets: that of the next one moves to 0."""
    bits = columns.bits
    for first in (shape.words, shape.words + shape.places):
        for place in range(shape.places):
            kept = place + ahead < shape.places
            bits[row, first + place] = bits[row, first + place + ahead] if kept else np.uint64(0)


@kernel
def _count_value(
    shape: ActiveShape, columns: ActiveColumns, row: Int, place: Int, at: Int, value: Int
) -> None:
    """Take in the value of an event, if it is the last one of the bucket at `place` so far."""
    bits, windows = columns.bits, shape.windows
    times, values = shape.words, shape.words + shape.places
    known = has(bits, shape.words, row, place)
    last, before = np.int64(bits[row, times + place]), bits[row, values + place]
    if known and (at < last or (at == last and value <= before)):
        return
    bits[row, times + place], bits[row, values + place] = np.uint64(at), value
    if known and value == before:
        return
    bucket = np.int64(columns.rows[row].base) + place
    after = _nearest(shape, columns, row, place, 1)
    earlier = np.int64(0) if known else _nearest(shape, columns, row, place, -1)
    for w in range(len(windows)):
        end = windows[w] if after == 0 else min(windows[w], after)
        _add_value(columns, np.int64(w), bucket, bucket + end, value, 1)
        if known:
            _add_value(columns, np.int64(w), bucket, bucket + end, before, -1)
        elif earlier > 0 and earlier < windows[w]:
            # The windows that counted for the value of the active bucket before this one.
            end = min(end, windows[w] - earlier)
            replaced = bits[row, values + place - earlier]
            _add_value(columns, np.int64(w), bucket, bucket + end, replaced, -1)


@kernel
def _add_value(
    columns: ActiveColumns, window: Int, begin: Int, end: Int, value: Int, added: Int
) -> None:
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].window = window
    changes[i].scope = BY_VALUE
    changes[i].begin = begin
    changes[i].end = end
    changes[i].value = value
    changes[i].added = added


@kernel
def _add(columns: ActiveColumns, window: Int, begin: Int, end: Int) -> None:
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].window = window
    changes[i].scope = ALL
    changes[i].begin = begin
    changes[i].end = end
