"""The sequence fold: how far each event takes a person through ordered steps.

An attempt begins with a first step and has a window of time to reach the others. For each day (of
the definition's time zone) on which a person took the first step there is an entry, so that counts
are exact by day and in total. Within a day, attempts are greedy, as in ClickHouse's `windowFunnel`:
for each step, an entry has the start of the latest attempt that reached it. A first step starts a
new attempt; a later step extends the latest attempt that reached the step before, if its window
(inclusive) is still open. Events at the same time count as one that satisfies the steps of all, in
step order.

Events may come in any order, so a row (a person) has two parts:

    base   the entries, folded over all events before the row's watermark
    tail   the events since then, ordered by time: (time, mask of steps)

The result is the tail folded over the base. It is stored beside the base, so that an event that
comes in order continues from it; any other event makes the whole tail fold again (`emit`).

The watermark is the row's newest event less the allowed lateness. An older event is late: it is
counted and left out. Events move the watermark of their own row only. A row therefore depends on
nothing but its events in order of arrival, and folding them again gives the same row: restoring
relies on it.

The kernels of this package are pure. They stop when a column is full, and are called again when
the caller has enlarged it.
"""

import numpy as np

from pipelines.columnar.jit import Int, kernel
from pipelines.engine.arena import NO_BLOCK, TAIL, append, prefetch_ahead
from pipelines.engine.constants import NONE
from pipelines.engine.row_kernels import (
    CHANGES,
    EventBatch,
    add_row,
    contains,
    is_late,
    mark_dirty,
)
from pipelines.operators.sequence.columns import MAX_TAIL, SequenceColumns, SequenceShape
from pipelines.operators.sequence.emit import emit_row
from pipelines.operators.sequence.entries import max_days
from pipelines.operators.sequence.watermark import advance_watermark


@kernel
def fold(shape: SequenceShape, columns: SequenceColumns, events: EventBatch, begin: Int) -> Int:
    """Fold events from `begin` on into their persons' tails.

    Returns how many are folded: fewer than all if the tail or the changes are full. Rows and
    entries must have room for one more per event.
    """
    rows, tail = columns.rows, columns.tail
    slots, times = events.slots, events.at
    for i in range(begin, len(times)):
        if columns.heads[TAIL] + 2 * MAX_TAIL > len(tail):
            return i
        prefetch_ahead(columns, slots, i)
        at = times[i]
        row = np.int64(columns.row_of[slots[i]])
        if row == NONE:
            row = _add_row(shape, columns, slots[i], at)
        if contains(columns, row, events.offsets[i]):
            continue
        if rows[row].length == MAX_TAIL:
            changes = max_days(columns, row) * shape.steps
            if columns.counters[CHANGES] + changes > len(columns.changes):
                return i
            _give_up_older_half(shape, columns, row)
        if is_late(columns, row, at):
            continue
        mark_dirty(columns, row)
        rows[row].watermark = max(rows[row].watermark, at - shape.lateness)
        insert(columns, row, at, np.int64(events.masks[i]))
    return len(times)


@kernel
def _add_row(shape: SequenceShape, columns: SequenceColumns, slot: Int, at: Int) -> Int:
    row = add_row(columns, slot)
    rows = columns.rows
    rows[row].watermark = at - shape.lateness
    rows[row].closed_level = 0
    rows[row].emitted_level = 0
    rows[row].newest_entry = NONE
    rows[row].length = 0
    rows[row].emitted = 0
    rows[row].size_class = NO_BLOCK
    return row


@kernel
def _give_up_older_half(shape: SequenceShape, columns: SequenceColumns, row: Int) -> None:
    """Make room in a full tail: no event may come before the newer half of it any more."""
    rows = columns.rows
    middle = columns.tail[rows[row].block + MAX_TAIL // 2].at
    mark_dirty(columns, row)
    emit_row(shape, columns, row)
    advance_watermark(shape, columns, row, max(rows[row].watermark, middle))


@kernel
def insert(columns: SequenceColumns, row: Int, at: Int, mask: Int) -> None:
    """Insert an event into a row's tail, or add its steps to an event at the same time.

    Unless it is the last event, everything that was emitted of the row has to be folded again.
    """
    rows, tail = columns.rows, columns.tail
    block, length = rows[row].block, rows[row].length
    place = length
    while place > 0 and tail[block + place - 1].at > at:
        place -= 1
    if place > 0 and tail[block + place - 1].at == at:
        before = np.int64(tail[block + place - 1].mask)
        if before | mask != before:
            tail[block + place - 1].mask = before | mask
            rows[row].emitted = 0
        return
    if place < length:
        rows[row].emitted = 0
    moved = append(columns, row, np.int64(block), length)
    for i in range(length, place, -1):
        tail[moved + i].at = tail[moved + i - 1].at
        tail[moved + i].mask = tail[moved + i - 1].mask
    tail[moved + place].at = at
    tail[moved + place].mask = mask
