"""The cohort fold: when a person began, and in which periods they came back.

A row is the period of the person's first start, the last period in which they returned, and a bit
for each period from `base` on in which they did. All of it is a union or a minimum, so that events
may come in any order; what is older than the lateness (in whole periods) is late, counted and left
out. That bounds how far a start can still move back, and so how many bits are enough.

What is published changes by steps of one: each event's effect is written down as additions to the
columns of a cohort, which is the period in which its persons began:

    column 0                 persons
    columns 1 … n            of them, who came back in the 0th … n-1th period
    columns n+1 … 2n         of them, who came back in that or a later one

If the cohort is broken down by a property, a person counts for the value of their first start, to
the millisecond; of several at one moment, for that with the least fingerprint. Two more numbers
beside the bits tell when that was, and which value.
"""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from pipelines.columnar.bits import drop, has, put
from pipelines.columnar.jit import Int, Int32s, Int64s, UInt64s, kernel
from pipelines.matching.match import Masks

Records: TypeAlias = Any  # an array of one of the types below, which type checkers cannot tell

NEVER: Final = -(2**31) + 1  # before every period; not the one that stands for the total

ROW: Final = np.dtype(
    [
        ("slot", np.int32),  # the person
        ("first", np.int32),  # the period of their first start, or NEVER
        ("last", np.int32),  # the last period in which they returned, or NEVER
        ("base", np.int32),  # the period of the first bit
        ("watermark", np.int32),  # events of periods before it are late
        ("dirty", np.uint8),
    ],
    align=True,
)
CHANGE: Final = np.dtype(
    [
        ("value", np.uint64),  # its fingerprint; 0 if the cohort is not broken down
        ("period", np.int32),
        ("column", np.int32),
        ("added", np.int32),
    ],
    align=True,
)

STARTS: Final = 1  # bits of an event's mask
RETURNS: Final = 2

ROWS, CHANGES, LATE, TOUCHED, HEADS = range(5)


class Shape(NamedTuple):
    """What a cohort's definition comes down to, for kernels."""

    periods: int
    words: int  # of 64 bits each, for as many periods
    broken_down: bool


def columns(shape: Shape) -> int:
    """How many columns a cohort has."""
    return 1 + 2 * shape.periods


@kernel
def fold(
    shape: Shape,
    rows: Records,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    row_of: Int32s,
    dirty: Int32s,
    slots: Int32s,
    at: Int64s,
    periods: Int32s,
    horizons: Int32s,
    masks: Masks,
    values: UInt64s,
    offsets: Int64s,
    stamps: Int64s,
    begin: Int,
) -> Int:
    """Fold events `begin` and following, which stand in order of arrival.

    Event i, `at[i]`, lies in `periods[i]`; the lateness before it lies in `horizons[i]`. Returns
    how many are folded: fewer than all if the changes are full, to be called again when there is
    room. Where `stamps` are given, events at offsets below a row's stamp are in it already. Rows,
    bits and `dirty` must have room for one more each per event.
    """
    for i in range(begin, len(slots)):
        if heads[CHANGES] + 6 * (1 + shape.periods) > len(changes):
            return i
        r = np.int64(row_of[slots[i]])
        if r == -1:
            r = heads[ROWS]
            heads[ROWS] += 1
            row_of[slots[i]] = r
            rows[r].slot = slots[i]
            rows[r].first = NEVER
            rows[r].last = NEVER
            rows[r].base = horizons[i]
            rows[r].watermark = horizons[i]
            rows[r].dirty = 0
            bits[r, :] = 0
        if len(stamps) > r and offsets[i] < stamps[r]:
            continue
        if periods[i] < rows[r].watermark:
            heads[LATE] += 1
            continue
        if not rows[r].dirty & 1:
            rows[r].dirty |= 1
            dirty[heads[TOUCHED]] = r
            heads[TOUCHED] += 1
        rows[r].watermark = max(rows[r].watermark, horizons[i])
        _rebase(shape, rows, bits, r)
        if masks[i] & STARTS:
            _start(shape, rows, bits, changes, heads, r, np.int64(periods[i]), at[i], values[i])
        if masks[i] & RETURNS:
            _return(shape, rows, bits, changes, heads, r, np.int64(periods[i]))
    return len(slots)


@kernel
def _rebase(shape: Shape, rows: Records, bits: UInt64s, r: Int) -> None:
    """Let go of periods that no start can move back to any more."""
    base = np.int64(rows[r].watermark)
    if rows[r].first != NEVER:
        base = min(base, np.int64(rows[r].first))
    ahead = base - rows[r].base
    if ahead <= 0:
        return
    rows[r].base = base
    drop(bits, shape.words, r, np.int64(ahead))


@kernel
def _start(
    shape: Shape,
    rows: Records,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    r: Int,
    period: Int,
    at: Int,
    value: Int,
) -> None:
    before: Int = np.int64(rows[r].first)
    if before != NEVER:
        if period > before or (period == before and not shape.broken_down):
            return
        if shape.broken_down and not _is_first(shape, bits, r, at, value):
            return
        if period < before or value != _value(shape, bits, r):
            _count(shape, rows, bits, changes, heads, r, -1)
            before = NEVER
    rows[r].first = period
    if shape.broken_down:
        bits[r, shape.words] = np.uint64(at)
        bits[r, shape.words + 1] = value
    if before == NEVER:
        _count(shape, rows, bits, changes, heads, r, 1)


@kernel
def _is_first(shape: Shape, bits: UInt64s, r: Int, at: Int, value: Int) -> Int:
    """Whether a start comes before the one that is taken to be the person's first."""
    first = np.int64(bits[r, shape.words])
    return at < first or (at == first and value < bits[r, shape.words + 1])


@kernel
def _value(shape: Shape, bits: UInt64s, r: Int) -> Int:
    return bits[r, shape.words + 1] if shape.broken_down else np.uint64(0)


@kernel
def _return(
    shape: Shape,
    rows: Records,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    r: Int,
    period: Int,
) -> None:
    first, last = np.int64(rows[r].first), np.int64(rows[r].last)
    after = period - first  # which of its columns, if the person has begun by then
    begun = first != NEVER and after >= 0
    value = _value(shape, bits, r)
    place = period - rows[r].base
    if place < 64 * shape.words and not has(bits, shape.words, r, np.int64(place)):
        put(bits, r, np.int64(place))
        if begun and after < shape.periods:
            _add(changes, heads, value, first, 1 + after, 1)
    if period > last:
        rows[r].last = period
        if begun:
            counted: Int = max(0, last - first + 1)
            for n in range(counted, min(shape.periods, after + 1)):
                _add(changes, heads, value, first, 1 + shape.periods + n, 1)


@kernel
def _count(
    shape: Shape,
    rows: Records,
    bits: UInt64s,
    changes: Records,
    heads: Int64s,
    r: Int,
    sign: Int,
) -> None:
    """Add or take away all that the person counts for in the cohort they are in."""
    first, last = np.int64(rows[r].first), np.int64(rows[r].last)
    value = _value(shape, bits, r)
    _add(changes, heads, value, first, 0, sign)
    for n in range(shape.periods):
        if has(bits, shape.words, r, np.int64(first + n - rows[r].base)):
            _add(changes, heads, value, first, 1 + n, sign)
        if first + n <= last:
            _add(changes, heads, value, first, 1 + shape.periods + n, sign)


@kernel
def _add(changes: Records, heads: Int64s, value: Int, period: Int, column: Int, added: Int) -> None:
    i = heads[CHANGES]
    heads[CHANGES] += 1
    changes[i].value = value
    changes[i].period = period
    changes[i].column = column
    changes[i].added = added
