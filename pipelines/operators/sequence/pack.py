"""How a funnel's row is packed: version byte, then numbers as in `varints`.

    version 1:  stamp, horizon~, closed,
                entries, and for each, newest first:  day~, announced, (start+1, took+1) per step,
                events in the tail, and for each: time (~, from the second on since the last), mask

`~` marks signed numbers, zigzag-coded. Equal rows are packed equally. What is not there is what
follows from the rest: the published figures are the fold of the tail over the base. A later layout
gets a new version, and `unpack` goes on reading the old ones.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.columnar.varint import LONGEST, get, get_signed, put, put_signed
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.kernel import NONE, START, TOOK, UNSET, Records, Shape

VERSION: Final = 1
MALFORMED: Final = -1


@kernel
def pack_bound(
    shape: Shape, rows: Records, entries: Records, times: Records, tail: Records, which: Int32s
) -> Int:
    """How many bytes `pack` may need at most; what it will read is in the cache then."""
    numbers = 0
    for i in range(len(which)):
        if i + FAR < len(which):
            prefetch(rows, which[i + FAR])
        if i + NEAR < len(which):
            ff.ask_for_row(rows, entries, times, tail, np.int64(which[i + NEAR]))
        numbers += 6 + 2 * rows[which[i]].length
        e = rows[which[i]].first
        while e != NONE:
            numbers += 2 + 2 * shape.steps
            e = entries[e].next
    return numbers * LONGEST


@kernel
def pack(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    which: Int32s,
    stamp: Int,
    out: Bytes,
    ends: Int64s,
) -> None:
    """Write the rows one after another into `out`; row i ends before `ends[i]`."""
    p = 0
    for i in range(len(which)):
        r = which[i]
        out[p] = VERSION
        p = put(out, p + 1, stamp)
        p = put_signed(out, p, rows[r].watermark)
        p = put(out, p, np.int64(rows[r].closed))
        count = 0
        e = rows[r].first
        while e != NONE:
            count += 1
            e = entries[e].next
        p = put(out, p, count)
        e = rows[r].first
        while e != NONE:
            p = put_signed(out, p, np.int64(entries[e].day))
            p = put(out, p, np.int64(entries[e].announced))
            for step in range(shape.steps):
                p = put(out, p, np.int64(times[e, START, step]) + 1)
                p = put(out, p, np.int64(times[e, TOOK, step]) + 1)
            e = entries[e].next
        p = put(out, p, np.int64(rows[r].length))
        previous = np.int64(0)
        for j in range(rows[r].block, rows[r].block + rows[r].length):
            at = tail[j].at
            p = put_signed(out, p, at) if j == rows[r].block else put(out, p, at - previous)
            p = put(out, p, np.int64(tail[j].mask))
            previous = at
        ends[i] = p


@kernel
def unpack(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    changes: Records,
    heads: Int64s,
    row_of: Int32s,
    stamps: Int64s,
    slots: Int32s,
    data: Bytes,
    begins: Int64s,
    ends: Int64s,
    scratch: Int64s,
    first: Int,
) -> Int:
    """Put packed rows in the place of what is known of their persons, from the `first` on.

    Row i of `slots` is `data[begins[i]:ends[i]]`. Returns how many are done: fewer than all
    if a column is full, to be called again; `MALFORMED` if a row is not as `pack` wrote it.
    """
    for i in range(first, len(slots)):
        if (
            heads[ff.TAIL] + 2 * ff.MAX_TAIL > len(tail)
            or heads[ff.ENTRIES] + ff.MAX_TAIL > len(entries)
            or len(changes) < 2 * ff.MAX_TAIL * shape.steps
        ):
            return i
        r = _blank_row(rows, entries, tail, heads, row_of, slots[i])
        p, end = begins[i], ends[i]
        if p == end or data[p] != VERSION:
            return MALFORMED
        stamp, p = get(data, p + 1, end)
        watermark, p = get_signed(data, p, end)
        closed, p = get(data, p, end)
        count, p = get(data, p, end)
        if count > ff.MAX_TAIL:
            return MALFORMED
        for _ in range(count):
            day, p = get_signed(data, p, end)
            e = ff.entry_of(shape, rows, entries, times, heads, r, day)
            announced, p = get(data, p, end)
            entries[e].announced = announced
            for step in range(shape.steps):
                start, p = get(data, p, end)
                took, p = get(data, p, end)
                times[e, START, step] = start - 1
                times[e, TOOK, step] = took - 1
        length, p = get(data, p, end)
        if length > ff.MAX_TAIL:
            return MALFORMED
        at = np.int64(0)
        for j in range(length):
            if j == 0:
                at, p = get_signed(data, p, end)
            else:
                since, p = get(data, p, end)
                at += since
            mask, p = get(data, p, end)
            ff.insert(rows, tail, heads, r, at, mask)
        if p != end:
            return MALFORMED
        rows[r].watermark = watermark
        rows[r].closed = closed
        rows[r].best = closed
        heads[ff.CHANGES] = 0
        ff.show_row(shape, rows, entries, times, tail, changes, heads, r, scratch)
        heads[ff.CHANGES] = 0
        stamps[r] = stamp
    return len(slots)


@kernel
def _blank_row(
    rows: Records, entries: Records, tail: Records, heads: Int64s, row_of: Int32s, slot: Int
) -> Int:
    r = np.int64(row_of[slot])
    if r == NONE:
        r = heads[ff.ROWS]
        heads[ff.ROWS] += 1
        row_of[slot] = r
        rows[r].slot = slot
    else:
        e = rows[r].first
        while e != NONE:
            topic_view = entries[e].next
            entries[e].next = heads[ff.FREE_ENTRY]
            heads[ff.FREE_ENTRY] = e
            e = topic_view
        if rows[r].size != ff.NO_BLOCK:
            ff.free_block(tail, heads, np.int64(rows[r].block), np.int64(rows[r].size))
    rows[r].first = NONE
    rows[r].length = 0
    rows[r].emitted = 0
    rows[r].size = ff.NO_BLOCK
    rows[r].dirty = 0
    return r


assert UNSET == -1, "a packed time is one more than the time, so that 0 stands for none"
