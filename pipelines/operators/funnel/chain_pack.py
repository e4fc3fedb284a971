"""How a row of a funnel with options is packed: version byte, then unsigned LEB128 numbers.

    version 1:  stamp, horizon~, told~, events, and for each: time (~, since the one before),
                mask, held, value

`~` marks signed numbers, zigzag-coded. Equal rows are packed equally. What is true of the person
follows from the events. A later layout gets a new version, and `unpack` goes on reading the old
ones.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, kernel
from pipelines.columnar.varint import LONGEST, get, get_signed, put, put_signed
from pipelines.operators.funnel import chain_kernel as fold
from pipelines.operators.funnel.chain_rules import Records
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.pack import MALFORMED

VERSION: Final = 1


@kernel
def pack_bound(rows: Records, which: Int32s) -> Int:
    """How many bytes `pack` may need at most."""
    numbers = 0
    for i in range(len(which)):
        numbers += 5 + 4 * rows[which[i]].length
    return numbers * LONGEST


@kernel
def pack(rows: Records, tail: Records, which: Int32s, stamp: Int, out: Bytes, ends: Int64s) -> None:
    """Write the rows one after another into `out`; row i ends before `ends[i]`."""
    p = 0
    for i in range(len(which)):
        r = which[i]
        out[p] = VERSION
        p = put(out, p + 1, stamp)
        p = put_signed(out, p, rows[r].watermark)
        p = put_signed(out, p, rows[r].told)
        p = put(out, p, np.int64(rows[r].length))
        previous = np.int64(0)
        for j in range(rows[r].block, rows[r].block + rows[r].length):
            p = put_signed(out, p, tail[j].at - previous)
            p = put(out, p, np.int64(tail[j].mask))
            p = put(out, p, np.int64(tail[j].held))
            p = put(out, p, np.int64(tail[j].value))
            previous = tail[j].at
        ends[i] = p


@kernel
def unpack(
    rows: Records,
    tail: Records,
    heads: Int64s,
    row_of: Int32s,
    stamps: Int64s,
    slots: Int32s,
    data: Bytes,
    begins: Int64s,
    ends: Int64s,
    first: Int,
) -> Int:
    """Put packed rows in the place of what is known of their persons, from the `first` on.

    Row i of `slots` is `data[begins[i]:ends[i]]`. Returns how many are done: fewer than all
    if the tail is full, to be called again; `MALFORMED` if a row is not as `pack` wrote it.
    """
    for i in range(first, len(slots)):
        p, end = begins[i], ends[i]
        if p == end or data[p] != VERSION:
            return MALFORMED
        stamp, p = get(data, p + 1, end)
        watermark, p = get_signed(data, p, end)
        told, p = get_signed(data, p, end)
        length, p = get(data, p, end)
        if length > fold.MAX_EVENTS or p > end:
            return MALFORMED
        if heads[ff.TAIL] + 4 * length > len(tail):
            return i
        r = np.int64(row_of[slots[i]])
        if r == ff.NONE:
            r = fold.blank_row(rows, heads, row_of, slots[i])
        elif rows[r].size != ff.NO_BLOCK:
            ff.free_block(tail, heads, np.int64(rows[r].block), np.int64(rows[r].size))
        rows[r].length = 0
        rows[r].size = ff.NO_BLOCK
        rows[r].dirty = 0
        rows[r].watermark = watermark
        rows[r].told = told
        at = np.int64(0)
        for _ in range(length):
            since, p = get_signed(data, p, end)
            mask, p = get(data, p, end)
            held, p = get(data, p, end)
            value, p = get(data, p, end)
            at += since
            place = fold.append(rows, tail, heads, r) + rows[r].length - 1
            tail[place].at = at
            tail[place].mask = mask
            tail[place].held = np.uint64(held)
            tail[place].value = np.uint64(value)
        if p != end:
            return MALFORMED
        stamps[r] = stamp
    return len(slots)
