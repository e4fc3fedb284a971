"""How a row of a sequence is logged: a version byte, then `columnar.varint` numbers.

    version 1:  stamp, watermark~, closed level,
                entries, and for each, newest first:
                    day~, timed-out level, (base start + 1, base duration + 1) per step,
                events in the tail, and for each:
                    time (~ of the first; of the others, since the one before), mask

`~` marks signed numbers, zigzag-coded. Equal rows have equal bytes. The rest is derived: what was
emitted is the tail folded over the base. A later layout gets another version, and `unpack` keeps
reading the older ones.

Who counts by day needs each entry. Who only asks whether all steps were ever completed, as segments
do, needs one for each level at most: of two days on which the same level was reached, the older
cannot get further than the newer, whose attempts began later. Entries that nobody needs are left
out, and so are all of a row that is complete.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.columnar.varint import LONGEST, get, get_signed, put, put_signed
from pipelines.engine.arena import NO_BLOCK, TAIL, release
from pipelines.engine.constants import NONE
from pipelines.engine.operator import Packed
from pipelines.engine.row_kernels import CHANGES, add_row
from pipelines.operators.sequence.columns import (
    BASE_DURATION,
    BASE_START,
    ENTRIES,
    MAX_TAIL,
    SequenceColumns,
    SequenceShape,
)
from pipelines.operators.sequence.emit import emit_row
from pipelines.operators.sequence.entries import (
    find_or_add_entry,
    free_entry,
    level_of,
    prefetch_row,
)
from pipelines.operators.sequence.kernel import insert

VERSION: Final = 1
MALFORMED: Final = -1


@kernel
def max_packed_size(shape: SequenceShape, columns: SequenceColumns, which: Int32s) -> Int:
    """Return how many bytes `pack` may need for some rows; what it reads is in the cache then."""
    rows, entries = columns.rows, columns.entries
    numbers = 0
    for i in range(len(which)):
        if i + FAR < len(which):
            prefetch(rows, which[i + FAR])
        if i + NEAR < len(which):
            prefetch_row(columns, np.int64(which[i + NEAR]))
        numbers += 6 + 2 * rows[which[i]].length
        e = rows[which[i]].newest_entry
        while e != NONE:
            numbers += 2 + 2 * shape.steps
            e = entries[e].next_entry
    return numbers * LONGEST


@kernel
def pack(
    shape: SequenceShape,
    columns: SequenceColumns,
    which: Int32s,
    stamp: Int,
    out: Bytes,
    ends: Int64s,
    by_day: Int,
) -> None:
    """Write some rows one after another into `out`; row i ends before `ends[i]`.

    Unless `by_day`, write only what says whether all steps are ever completed.
    """
    rows, entries, times, tail = columns.rows, columns.entries, columns.times, columns.tail
    p = 0
    for i in range(len(which)):
        row = which[i]
        out[p] = VERSION
        p = put(out, p + 1, stamp)
        p = put_signed(out, p, rows[row].watermark)
        closed_level: Int = np.int64(rows[row].closed_level)
        if not by_day:
            closed_level = shape.steps if _is_complete(shape, columns, row) else 0
        needed = NONE if by_day else closed_level
        p = put(out, p, closed_level)
        p = put(out, p, _count_entries(shape, columns, row, needed))
        e = rows[row].newest_entry
        while e != NONE:
            level = level_of(shape, times[e, BASE_DURATION])
            if by_day or level > needed:
                needed = level
                p = put_signed(out, p, np.int64(entries[e].day))
                p = put(out, p, np.int64(entries[e].timed_out_level) if by_day else 0)
                for step in range(shape.steps):
                    p = put(out, p, np.int64(times[e, BASE_START, step]) + 1)
                    p = put(out, p, np.int64(times[e, BASE_DURATION, step]) + 1)
            e = entries[e].next_entry
        p = put(out, p, np.int64(rows[row].length))
        previous = np.int64(0)
        block = rows[row].block
        for j in range(block, block + rows[row].length):
            at = tail[j].at
            p = put_signed(out, p, at) if j == block else put(out, p, at - previous)
            p = put(out, p, np.int64(tail[j].mask))
            previous = at
        ends[i] = p


@kernel
def _is_complete(shape: SequenceShape, columns: SequenceColumns, row: Int) -> Int:
    """Return whether all steps are completed by events before the row's watermark."""
    if columns.rows[row].closed_level == shape.steps:
        return True
    e = columns.rows[row].newest_entry
    while e != NONE:
        if columns.times[e, BASE_DURATION, shape.steps - 1] != NONE:
            return True
        e = columns.entries[e].next_entry
    return False


@kernel
def _count_entries(shape: SequenceShape, columns: SequenceColumns, row: Int, reached: Int) -> Int:
    """Count a row's entries that get beyond `reached` and all newer ones; all if it is NONE."""
    by_day = reached == NONE
    count, needed = 0, reached
    e = columns.rows[row].newest_entry
    while e != NONE:
        level = level_of(shape, columns.times[e, BASE_DURATION])
        if by_day or level > needed:
            needed = level
            count += 1
        e = columns.entries[e].next_entry
    return count


@kernel
def unpack(
    shape: SequenceShape, columns: SequenceColumns, slots: Int32s, packed: Packed, first: Int
) -> Int:
    """Replace the rows of persons by packed ones, from the `first` on.

    `packed` has the row of `slots[i]` at i. Returns how many are done: fewer than all if a column
    is full; `MALFORMED` if a row is not one that `pack` wrote.
    """
    rows, times = columns.rows, columns.times
    data = packed.data
    for i in range(first, len(slots)):
        if (
            columns.heads[TAIL] + 2 * MAX_TAIL > len(columns.tail)
            or columns.heads[ENTRIES] + MAX_TAIL > len(columns.entries)
            or len(columns.changes) < 2 * MAX_TAIL * shape.steps
        ):
            return i
        row = _blank_row(columns, slots[i])
        p, end = packed.begins[i], packed.ends[i]
        if p == end or data[p] != VERSION:
            return MALFORMED
        stamp, p = get(data, p + 1, end)
        watermark, p = get_signed(data, p, end)
        closed_level, p = get(data, p, end)
        count, p = get(data, p, end)
        if count > MAX_TAIL:
            return MALFORMED
        for _ in range(count):
            day, p = get_signed(data, p, end)
            e = find_or_add_entry(shape, columns, row, day)
            timed_out_level, p = get(data, p, end)
            columns.entries[e].timed_out_level = timed_out_level
            for step in range(shape.steps):
                start, p = get(data, p, end)
                duration, p = get(data, p, end)
                times[e, BASE_START, step] = start - 1
                times[e, BASE_DURATION, step] = duration - 1
        length, p = get(data, p, end)
        if length > MAX_TAIL:
            return MALFORMED
        at = np.int64(0)
        for j in range(length):
            if j == 0:
                at, p = get_signed(data, p, end)
            else:
                since, p = get(data, p, end)
                at += since
            mask, p = get(data, p, end)
            insert(columns, row, at, mask)
        if p != end:
            return MALFORMED
        rows[row].watermark = watermark
        rows[row].closed_level = closed_level
        rows[row].emitted_level = closed_level
        # Everything in the row was emitted before it was logged.
        columns.counters[CHANGES] = 0
        emit_row(shape, columns, row)
        columns.counters[CHANGES] = 0
        columns.stamps[row] = stamp
    return len(slots)


@kernel
def _blank_row(columns: SequenceColumns, slot: Int) -> Int:
    """Return the row of a person, without entries and events."""
    rows, entries = columns.rows, columns.entries
    row = np.int64(columns.row_of[slot])
    if row == NONE:
        row = add_row(columns, slot)
        rows[row].length = 0
        rows[row].size_class = NO_BLOCK
    else:
        e = rows[row].newest_entry
        while e != NONE:
            older = entries[e].next_entry
            free_entry(columns, e)
            e = older
        release(columns, row)
    rows[row].newest_entry = NONE
    rows[row].emitted = 0
    rows[row].dirty = 0
    return row


assert NONE == -1, "a packed time is one more than the time, so that 0 stands for NONE"
