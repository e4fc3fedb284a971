"""The fold of active persons: in which buckets each was, and so in which windows they count.

A window has so many buckets, and ends with one of them; a person counts in it once, however often
they were active. So a bucket that a person was not active in before adds them to those windows that
have it and no other one of theirs: what was active before it and after it tells which. All of it is
a union, so that events may come in any order; what is older than the lateness (in whole buckets)
before the person's own newest event is late, counted and left out.

What is published changes by ranges: the person counts once more in the windows of one length that
end with the buckets from `begin` to `end`, which is not one of them. For the second in which a
person was last active, `begin` is the one before and `end` the one that it is now.
"""

from typing import Any, Final, TypeAlias

import numpy as np

from pipelines.columnar.bits import drop, has, put
from pipelines.columnar.jit import Int, Int32s, Int64s, UInt64s, kernel

Records: TypeAlias = Any  # an array of one of the types below, which type checkers cannot tell

NEVER: Final = -1  # a second before all others

ROW: Final = np.dtype(
    [
        ("slot", np.int32),  # the person
        ("base", np.int32),  # the bucket of the first bit
        ("watermark", np.int32),  # events of buckets before it are late
        ("dirty", np.uint8),
        ("seen", np.int64),  # the second in which they were last active, or NEVER
    ],
    align=True,
)
CHANGE: Final = np.dtype([("window", np.int32), ("begin", np.int64), ("end", np.int64)])
SEEN: Final = -1  # stands for the window in changes of `seen`

ROWS, CHANGES, LATE, TOUCHED, HEADS = range(5)


@kernel
def fold(
    windows: Int64s,
    rows: Records,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    row_of: Int32s,
    dirty: Int32s,
    slots: Int32s,
    numbers: Int64s,
    horizons: Int64s,
    seconds: Int64s,
    offsets: Int64s,
    stamps: Int64s,
) -> None:
    """Fold events, which stand in order of arrival.

    `windows` are lengths in buckets, the longest one last. Event i lies in bucket `numbers[i]`; the
    lateness before it lies in `horizons[i]`. Where `stamps` are given, events at offsets below a
    row's stamp are in it already. Rows, bits and `dirty` must have room for one more each per
    event, and `changes` for one more each per event and window, and one per event.
    """
    reach = windows[-1] - 1
    for i in range(len(slots)):
        r = np.int64(row_of[slots[i]])
        if r == -1:
            r = heads[ROWS]
            heads[ROWS] += 1
            row_of[slots[i]] = r
            rows[r].slot = slots[i]
            rows[r].base = horizons[i] - reach
            rows[r].watermark = horizons[i]
            rows[r].seen = NEVER
            rows[r].dirty = 0
            bits[r, :] = 0
        if len(stamps) > r and offsets[i] < stamps[r]:
            continue
        if numbers[i] < rows[r].watermark:
            heads[LATE] += 1
            continue
        if not rows[r].dirty & 1:
            rows[r].dirty |= 1
            dirty[heads[TOUCHED]] = r
            heads[TOUCHED] += 1
        ahead = horizons[i] - rows[r].watermark
        if ahead > 0:
            rows[r].watermark += ahead
            rows[r].base += ahead
            drop(bits, bits.shape[1], r, np.int64(ahead))
        place = np.int64(numbers[i] - rows[r].base)
        if not has(bits, bits.shape[1], r, place):
            _count(windows, bits, changes, heads, r, place, np.int64(rows[r].base))
            put(bits, r, place)
        if seconds[i] > rows[r].seen:
            _add(changes, heads, np.int64(SEEN), np.int64(rows[r].seen), seconds[i])
            rows[r].seen = seconds[i]


@kernel
def _count(
    windows: Int64s,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    r: Int,
    place: Int,
    base: Int,
) -> None:
    """Add the person to the windows that have the bucket at `place`, and did not have them yet."""
    longest = windows[-1]
    before = after = np.int64(0)  # how far away the nearest active buckets are, if within reach
    for distance in range(1, longest):
        if before == 0 and has(bits, bits.shape[1], r, place - distance):
            before = np.int64(distance)
        if after == 0 and has(bits, bits.shape[1], r, place + distance):
            after = np.int64(distance)
    for w in range(len(windows)):
        begin, end = np.int64(0), windows[w]
        if before > 0:
            begin = max(begin, windows[w] - before)
        if after > 0:
            end = min(end, after)
        if begin < end:
            _add(changes, heads, np.int64(w), base + place + begin, base + place + end)


@kernel
def _add(changes: Records, heads: Int64s, window: Int, begin: Int, end: Int) -> None:
    i = heads[CHANGES]
    heads[CHANGES] += 1
    changes[i].window = window
    changes[i].begin = begin
    changes[i].end = end
