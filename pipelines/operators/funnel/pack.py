"""How a row of a funnel with options is logged: a version byte, then `columnar.varint` numbers.

    version 1:  stamp, watermark~, timed out until~,
                events, and for each:  time (~, since the one before), mask, held, value

`~` marks signed numbers, zigzag-coded. Equal rows have equal bytes. Outcomes follow from the
events. A later layout gets another version, and `unpack` keeps reading the older ones.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, StructArray, kernel
from pipelines.columnar.varint import LONGEST, get, get_signed, put, put_signed
from pipelines.engine.arena import TAIL, append, release
from pipelines.engine.constants import NONE
from pipelines.engine.operator import Packed
from pipelines.operators.funnel.columns import MAX_EVENTS, FunnelColumns
from pipelines.operators.funnel.kernel import new_row

VERSION: Final = 1
MALFORMED: Final = -1


@kernel
def max_packed_size(rows: StructArray, which: Int32s) -> Int:
    """Return how many bytes `pack` may need for some rows."""
    numbers = 0
    for i in range(len(which)):
        numbers += 5 + 4 * rows[which[i]].length
    return numbers * LONGEST


@kernel
def pack(columns: FunnelColumns, which: Int32s, stamp: Int, out: Bytes, ends: Int64s) -> None:
    """Write some rows one after another into `out`; row i ends before `ends[i]`."""
    rows, tail = columns.rows, columns.tail
    p = 0
    for i in range(len(which)):
        row = which[i]
        out[p] = VERSION
        p = put(out, p + 1, stamp)
        p = put_signed(out, p, rows[row].watermark)
        p = put_signed(out, p, rows[row].timed_out_until)
        p = put(out, p, np.int64(rows[row].length))
        previous = np.int64(0)
        for j in range(rows[row].block, rows[row].block + rows[row].length):
            p = put_signed(out, p, tail[j].at - previous)
            p = put(out, p, np.int64(tail[j].mask))
            p = put(out, p, np.int64(tail[j].held))
            p = put(out, p, np.int64(tail[j].value))
            previous = tail[j].at
        ends[i] = p


@kernel
def unpack(columns: FunnelColumns, slots: Int32s, packed: Packed, first: Int) -> Int:
    """Replace the rows of persons by packed ones, from the `first` on.

    `packed` has the row of `slots[i]` at i. Returns how many are done: fewer than all if the tail
    is full; `MALFORMED` if a row is not one that `pack` wrote.
    """
    rows, tail = columns.rows, columns.tail
    data = packed.data
    for i in range(first, len(slots)):
        p, end = packed.begins[i], packed.ends[i]
        if p == end or data[p] != VERSION:
            return MALFORMED
        stamp, p = get(data, p + 1, end)
        watermark, p = get_signed(data, p, end)
        timed_out_until, p = get_signed(data, p, end)
        length, p = get(data, p, end)
        if length > MAX_EVENTS or p > end:
            return MALFORMED
        if columns.heads[TAIL] + 4 * length > len(tail):
            return i
        row = np.int64(columns.row_of[slots[i]])
        if row == NONE:
            row = new_row(columns, slots[i])
        else:
            release(columns, row)
        rows[row].dirty = 0
        rows[row].watermark = watermark
        rows[row].timed_out_until = timed_out_until
        at = np.int64(0)
        for number in range(length):
            since, p = get_signed(data, p, end)
            mask, p = get(data, p, end)
            held, p = get(data, p, end)
            value, p = get(data, p, end)
            at += since
            place = append(columns, row, np.int64(rows[row].block), number) + number
            tail[place].at = at
            tail[place].mask = mask
            tail[place].held = np.uint64(held)
            tail[place].value = np.uint64(value)
        if p != end:
            return MALFORMED
        columns.stamps[row] = stamp
    return len(slots)
