"""How a funnel's row is packed: version byte, then unsigned LEB128 numbers.

    version 1:  stamp, horizon~, closed,
                entries, and for each, newest first:  day~, announced, (start+1, took+1) per step,
                events in the tail, and for each: time (~, from the second on since the last), mask

`~` marks signed numbers, zigzag-coded. Equal rows are packed equally. What is not there is what
follows from the rest: the published figures are the fold of the tail over the base. A later layout
gets a new version, and `unpack` goes on reading the old ones.
"""

from typing import Final

import numpy as np

from pipelines import funnel_fold as ff
from pipelines.funnel_fold import NONE, START, TOOK, UNSET, Records, Shape
from pipelines.kernel import Bytes, Int, Int32s, Int64s, kernel

VERSION: Final = 1
MALFORMED: Final = -1
_LONGEST: Final = 10  # bytes of a number


@kernel
def pack_bound(shape: Shape, rows: Records, entries: Records, which: Int32s) -> Int:
    """How many bytes `pack` may need at most."""
    numbers = 0
    for i in range(len(which)):
        numbers += 6 + 2 * rows[which[i]].length
        e = rows[which[i]].first
        while e != NONE:
            numbers += 2 + 2 * shape.steps
            e = entries[e].next
    return numbers * _LONGEST


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
        p = _put(out, p + 1, stamp)
        p = _put_signed(out, p, rows[r].horizon)
        p = _put(out, p, np.int64(rows[r].closed))
        count = 0
        e = rows[r].first
        while e != NONE:
            count += 1
            e = entries[e].next
        p = _put(out, p, count)
        e = rows[r].first
        while e != NONE:
            p = _put_signed(out, p, np.int64(entries[e].day))
            p = _put(out, p, np.int64(entries[e].announced))
            for step in range(shape.steps):
                p = _put(out, p, np.int64(times[e, START, step]) + 1)
                p = _put(out, p, np.int64(times[e, TOOK, step]) + 1)
            e = entries[e].next
        p = _put(out, p, np.int64(rows[r].length))
        previous = np.int64(0)
        for j in range(rows[r].block, rows[r].block + rows[r].length):
            at = tail[j].at
            p = _put_signed(out, p, at) if j == rows[r].block else _put(out, p, at - previous)
            p = _put(out, p, np.int64(tail[j].mask))
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
    first: Int,
) -> Int:
    """Put packed rows in the place of what is known of their persons, from the `first` on.

    Row i of `slots` is `data[begins[i]:ends[i]]`. Returns how many are done: fewer than all
    if a column is full, to be called again; `MALFORMED` if a row is not as `pack` wrote it.
    """
    scratch = np.zeros((3, shape.steps), np.int64)
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
        stamp, p = _get(data, p + 1, end)
        horizon, p = _get_signed(data, p, end)
        closed, p = _get(data, p, end)
        count, p = _get(data, p, end)
        if count > ff.MAX_TAIL:
            return MALFORMED
        for _ in range(count):
            day, p = _get_signed(data, p, end)
            e = ff._entry(shape, rows, entries, times, heads, r, day)  # noqa: SLF001
            announced, p = _get(data, p, end)
            entries[e].announced = announced
            for step in range(shape.steps):
                start, p = _get(data, p, end)
                took, p = _get(data, p, end)
                times[e, START, step] = start - 1
                times[e, TOOK, step] = took - 1
        length, p = _get(data, p, end)
        if length > ff.MAX_TAIL:
            return MALFORMED
        at = np.int64(0)
        for j in range(length):
            if j == 0:
                at, p = _get_signed(data, p, end)
            else:
                since, p = _get(data, p, end)
                at += since
            mask, p = _get(data, p, end)
            ff._insert(rows, tail, heads, r, at, mask)  # noqa: SLF001
        if p != end:
            return MALFORMED
        rows[r].horizon = horizon
        rows[r].closed = closed
        rows[r].best = closed
        heads[ff.CHANGES] = 0
        ff._show(shape, rows, entries, times, tail, changes, heads, r, scratch)  # noqa: SLF001
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
            following = entries[e].next
            entries[e].next = heads[ff.FREE_ENTRY]
            heads[ff.FREE_ENTRY] = e
            e = following
        if rows[r].size != ff.NO_BLOCK:
            ff._free_block(  # noqa: SLF001
                tail, heads, np.int64(rows[r].block), np.int64(rows[r].size)
            )
    rows[r].first = NONE
    rows[r].length = 0
    rows[r].size = ff.NO_BLOCK
    rows[r].touched = 0
    return r


@kernel
def _put(out: Bytes, p: Int, number: Int) -> Int:
    rest = np.uint64(number)
    while rest >= np.uint64(128):
        out[p] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
        rest >>= np.uint64(7)
        p += 1
    out[p] = np.uint8(rest)
    return p + 1


@kernel
def _put_signed(out: Bytes, p: Int, number: Int) -> Int:
    return _put(out, p, (number << 1) ^ (number >> 63))


@kernel
def _get(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """The number at `p` and where it ends; past `end` there are zeros, of which `p` tells."""
    number = np.uint64(0)
    shift = np.uint64(0)
    while p < end:
        byte = data[p]
        p += 1
        number |= np.uint64(byte & 127) << shift
        if byte < 128:
            return np.int64(number), p
        shift += np.uint64(7)
    return np.int64(0), end + 1


@kernel
def _get_signed(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    number, p = _get(data, p, end)
    unsigned = np.uint64(number)
    return np.int64(unsigned >> np.uint64(1)) ^ -np.int64(number & 1), p


assert UNSET == -1, "a packed time is one more than the time, so that 0 stands for none"
