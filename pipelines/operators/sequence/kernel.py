"""The funnel fold: what one event does to one person's way through one funnel.

For each entry day the chain that begins with a first step on that day is kept apart, so that the
day's figures and the total are both exact. Within a day it is the greedy chain of ClickHouse's
`windowFunnel`: per step the start of the latest chain that got there; a first step starts anew, a
later step joins the chain that got one step less far, if the window (inclusive) is still open.
Events of equal times are taken as one that satisfies the steps of all, in the order of the steps.

So that events may come in any order, a row (a person in a funnel) is two things:

    base   the entries (days), folded over all events before the row's `horizon`
    tail   the events from the horizon on, in order of time, as (time, mask of steps)

and what is true now is the fold of the tail over the base. It is kept beside the base, so that an
event that comes in order goes on from there; one that does not has the tail folded anew.

The horizon is the row's newest event less the allowed lateness: an older event is late, and is
counted and left out. It moves with the row's own events only, never with the clock of others, so
that the fold of a row is a function of its events in their order of arrival and of nothing else:
replaying them gives the same row. That is what restoring rests on.

Everything here is pure: kernels over columns, growing is left to the caller.
"""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.engine.operator import TOTAL
from pipelines.matching.match import Masks

Records: TypeAlias = Any  # an array of one of the types below, which type checkers cannot tell

DAY_MS: Final = 86_400_000
UNSET: Final = -1
NONE: Final = -1
MAX_TAIL: Final = 1_024
SMALLEST_BLOCK: Final = 2
BLOCK_CLASSES: Final = 10  # blocks of 2, 4, … 1,024 events
NO_BLOCK: Final = 255

# Few arrays of records, not many of columns: a row is one cache line, and compiles far faster.
ROW: Final = np.dtype(
    [
        ("watermark", np.int64),  # events before it are late
        ("slot", np.int32),  # the person
        ("first", np.int32),  # the newest open entry
        ("block", np.int32),  # where in the tail its events are
        ("length", np.int16),  # how many they are
        ("emitted", np.int16),  # how many of them, from the first on, are in what is published
        ("size", np.uint8),  # the class of its block, or NO_BLOCK
        ("closed", np.uint8),  # the furthest step on days that are closed
        ("best", np.uint8),  # the furthest step on any day, as published
        ("dirty", np.uint8),  # bit 0: in this batch, bit 1: since it was last logged
    ],
    align=True,
)
# One a person and day on which they took the first step.
ENTRY: Final = np.dtype(
    [
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("row", np.int32),
        ("next", np.int32),  # the person's next older entry, or the next free one
        ("day", np.int32),
        ("announced", np.uint8),  # the step whose time-out is announced
    ],
    align=True,
)
EVENT: Final = np.dtype([("at", np.int64), ("mask", np.uint32)])
# What became different: published, and added to the aggregates.
CHANGE: Final = np.dtype(
    [
        ("before", np.int64),  # time to the step, UNSET if it was not reached
        ("after", np.int64),
        ("at", np.int64),  # when it was reached
        ("row", np.int32),
        ("day", np.int32),  # TOTAL: the person's furthest step in all
        ("step", np.int32),  # from 0
    ],
    align=True,
)

# The times of entry e are `times[e]`, shape (TIMES, steps), in milliseconds:
START: Final = 0  # base: begin of the latest chain that got so far, from the day's begin
TOOK: Final = 1  # base: time to the step from the chain's begin, when it was first reached
SHOWN: Final = 2  # as TOOK, tail included: what is published
TIP: Final = 3  # as START, tail included
TIMES: Final = 4

# The places of `heads`: how much of each array is used, and where the free lists begin.
ROWS, ENTRIES, FREE_ENTRY, TAIL, CHANGES, LATE, TOUCHED, FREE_BLOCK = range(8)
HEADS: Final = FREE_BLOCK + BLOCK_CLASSES


class Shape(NamedTuple):
    """What a funnel's definition comes down to, for kernels."""

    steps: int
    window: int  # ms
    lateness: int  # ms


@kernel
def fold(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    changes: Records,
    heads: Int64s,
    row_of: Int32s,
    dirty: Int32s,
    slots: Int32s,
    at: Int64s,
    masks: Masks,
    offsets: Int64s,
    stamps: Int64s,
    scratch: Int64s,
    begin: Int,
) -> Int:
    """Fold events `begin` and following, which stand in order of arrival.

    Returns how many are folded: fewer than all if the tail or the changes are full, to be called
    again when there is room. Where `stamps` are given, events at offsets below a row's stamp are in
    it already. Rows, entries and `dirty` must have room for one more each per event. `scratch`,
    here and below, is room for three numbers a step.
    """
    for i in range(begin, len(at)):
        if heads[TAIL] + 2 * MAX_TAIL > len(tail):
            return i
        _ask_ahead(rows, tail, row_of, slots, i)
        r = np.int64(row_of[slots[i]])
        if r == NONE:
            r = heads[ROWS]
            heads[ROWS] += 1
            row_of[slots[i]] = r
            rows[r].slot = slots[i]
            rows[r].watermark = at[i] - shape.lateness
            rows[r].closed = 0
            rows[r].best = 0
            rows[r].first = NONE
            rows[r].length = 0
            rows[r].emitted = 0
            rows[r].size = NO_BLOCK
            rows[r].dirty = 0
        if len(stamps) > r and offsets[i] < stamps[r]:
            continue
        if rows[r].length == MAX_TAIL:
            if heads[CHANGES] + days_at_most(rows, entries, r) * shape.steps > len(changes):
                return i
            # A person with more steps than that within the lateness: give up the older half's.
            middle = tail[rows[r].block + MAX_TAIL // 2].at
            touch(rows, dirty, heads, r)
            show_row(shape, rows, entries, times, tail, changes, heads, r, scratch)
            _settle(shape, rows, entries, times, tail, heads, r, max(rows[r].watermark, middle))
        if at[i] < rows[r].watermark:
            heads[LATE] += 1
            continue
        touch(rows, dirty, heads, r)
        rows[r].watermark = max(rows[r].watermark, at[i] - shape.lateness)
        insert(rows, tail, heads, r, at[i], np.int64(masks[i]))
    return len(at)


@kernel
def _ask_ahead(rows: Records, tail: Records, row_of: Int32s, slots: Int32s, i: Int) -> None:
    if i + 2 * FAR < len(slots):
        prefetch(row_of, slots[i + 2 * FAR])
    if i + FAR < len(slots):
        prefetch(rows, row_of[slots[i + FAR]])
    if i + NEAR < len(slots):
        r = row_of[slots[i + NEAR]]
        if r != NONE:
            prefetch(tail, rows[r].block)


@kernel
def ask_for_row(rows: Records, entries: Records, times: Records, tail: Records, r: Int) -> None:
    """Have what a row refers to on its way: its events, and its newest entry."""
    prefetch(tail, rows[r].block)
    prefetch(entries, rows[r].first)
    prefetch(times, rows[r].first)
    prefetch(times, rows[r].first + 1)  # they lie across two cache lines


@kernel
def settle(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    heads: Int64s,
    row: Int,
    watermark: Int,
) -> None:
    """Raise one row's horizon, if it is lower: what falls behind it can no longer be preceded."""
    _settle(shape, rows, entries, times, tail, heads, row, max(watermark, rows[row].watermark))


@kernel
def touch(rows: Records, dirty: Int32s, heads: Int64s, r: Int) -> None:
    """Note, once a batch, that a row was touched."""
    if not rows[r].dirty & 1:
        rows[r].dirty |= 1
        dirty[heads[TOUCHED]] = r
        heads[TOUCHED] += 1


# ── the tail ─────────────────────────────────────────────────────────────────────────────────────


@kernel
def insert(rows: Records, tail: Records, heads: Int64s, r: Int, at: Int, mask: Int) -> None:
    """Put an event into its place; events of one time become one.

    If that is not the last place, what was shown is to be worked out anew.
    """
    block, length = rows[r].block, rows[r].length
    place = length
    while place > 0 and tail[block + place - 1].at > at:
        place -= 1
    if place > 0 and tail[block + place - 1].at == at:
        before = np.int64(tail[block + place - 1].mask)
        if before | mask != before:
            tail[block + place - 1].mask = before | mask
            rows[r].emitted = 0
        return
    if place < length:
        rows[r].emitted = 0
    if rows[r].size == NO_BLOCK or length == SMALLEST_BLOCK << rows[r].size:
        block = enlarge(rows, tail, heads, r)
    for i in range(length, place, -1):
        tail[block + i].at = tail[block + i - 1].at
        tail[block + i].mask = tail[block + i - 1].mask
    tail[block + place].at = at
    tail[block + place].mask = mask
    rows[r].length = length + 1


@kernel
def enlarge(rows: Records, tail: Records, heads: Int64s, r: Int) -> Int:
    """Give a row a block of twice the size, or its first; returns where it begins."""
    old, length = np.int64(rows[r].block), rows[r].length
    size = np.int64(0) if rows[r].size == NO_BLOCK else np.int64(rows[r].size) + 1
    free = heads[FREE_BLOCK + size]
    if free != NONE:
        block = free
        heads[FREE_BLOCK + size] = tail[free].at
    else:
        block = heads[TAIL]
        heads[TAIL] += SMALLEST_BLOCK << size
    for i in range(length):
        tail[block + i] = tail[old + i]
    if size > 0:
        free_block(tail, heads, old, size - 1)
    rows[r].block = block
    rows[r].size = size
    return block


@kernel
def free_block(tail: Records, heads: Int64s, block: Int, size: Int) -> None:
    """Keep a block for the next row that needs one of its size."""
    tail[block].at = heads[FREE_BLOCK + size]
    heads[FREE_BLOCK + size] = block


# ── the fold itself ──────────────────────────────────────────────────────────────────────────────


@kernel
def _advance(shape: Shape, start: Int, took: Int, day: Int, at: Int, mask: Int) -> Int:
    """Take one entry through one event; returns the steps it reached first, as a mask."""
    reached = 0
    begin = day * DAY_MS
    for step in range(shape.steps):
        if not (mask >> step) & 1:
            continue
        if step == 0:
            if at < begin or at >= begin + DAY_MS:
                continue
            start[0] = at - begin
        else:
            previous = start[step - 1]
            if previous == UNSET or at > begin + previous + shape.window:
                continue
            start[step] = previous
        if took[step] == UNSET:
            took[step] = at - begin - start[step]
            reached |= 1 << step
    return reached


@kernel
def entry_of(
    shape: Shape, rows: Records, entries: Records, times: Records, heads: Int64s, r: Int, day: Int
) -> Int:
    """The row's entry of that day, made if there is none; entries stand newest day first."""
    before = NONE
    e = rows[r].first
    while e != NONE and entries[e].day > day:
        before = e
        e = entries[e].next
    if e != NONE and entries[e].day == day:
        return e
    topic_view = e
    if heads[FREE_ENTRY] != NONE:
        e = heads[FREE_ENTRY]
        heads[FREE_ENTRY] = entries[e].next
    else:
        e = heads[ENTRIES]
        heads[ENTRIES] += 1
    entries[e].row = r
    entries[e].day = day
    entries[e].next = topic_view
    entries[e].announced = 0
    entries[e].timer = 0
    for step in range(shape.steps):
        times[e, START, step] = UNSET
        times[e, TOOK, step] = UNSET
        times[e, SHOWN, step] = UNSET
        times[e, TIP, step] = UNSET
    if before == NONE:
        rows[r].first = e
    else:
        entries[before].next = e
    return e


@kernel
def days_at_most(rows: Records, entries: Records, r: Int) -> Int:
    """How many days `show_row` may find a row to have at most, the total counted as one."""
    days = 1 + rows[r].length
    e = rows[r].first
    while e != NONE:
        days += 1
        e = entries[e].next
    return days


@kernel
def show_row(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    changes: Records,
    heads: Int64s,
    r: Int,
    scratch: Int64s,
) -> None:
    """Fold the tail over the base and write down what differs from what is published.

    Events that came in order go on from what was shown before them.
    """
    block, length, emitted = rows[r].block, rows[r].length, rows[r].emitted
    base, base_took = (START, TOOK) if emitted == 0 else (TIP, SHOWN)
    rows[r].emitted = length
    for i in range(block + emitted, block + length):
        if tail[i].mask & 1:
            entry_of(shape, rows, entries, times, heads, r, tail[i].at // DAY_MS)
    start, took, reached_at = scratch[0], scratch[1], scratch[2]
    best: Int = np.int64(rows[r].closed)
    e = rows[r].first
    while e != NONE:
        day = np.int64(entries[e].day)
        for step in range(shape.steps):
            start[step] = times[e, base, step]
            took[step] = times[e, base_took, step]
        for i in range(block + emitted, block + length):
            reached = _advance(shape, start, took, day, tail[i].at, np.int64(tail[i].mask))
            if reached:
                for step in range(shape.steps):
                    if (reached >> step) & 1:
                        reached_at[step] = tail[i].at
        level = 0
        for step in range(shape.steps):
            before = np.int64(times[e, SHOWN, step])
            if took[step] != UNSET:
                level = step + 1
            if before != took[step]:
                _write_change(changes, heads, r, day, step, before, took[step], reached_at[step])
                times[e, SHOWN, step] = took[step]
            times[e, TIP, step] = start[step]
        best = max(best, level)
        e = entries[e].next
    shown_best = np.int64(rows[r].best)
    for step in range(shown_best, best):
        _write_change(changes, heads, r, TOTAL, step, UNSET, 0, 0)
    for step in range(best, shown_best):
        _write_change(changes, heads, r, TOTAL, step, 0, UNSET, 0)
    rows[r].best = best


@kernel
def _write_change(
    changes: Records,
    heads: Int64s,
    row: Int,
    day: Int,
    step: Int,
    before: Int,
    after: Int,
    at: Int,
) -> None:
    i = heads[CHANGES]
    heads[CHANGES] += 1
    changes[i].row = row
    changes[i].day = day
    changes[i].step = step
    changes[i].before = before
    changes[i].after = after
    changes[i].at = at


@kernel
def _settle(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    heads: Int64s,
    r: Int,
    watermark: Int,
) -> None:
    """Move the horizon: fold the events behind it into the base and close the days behind it."""
    rows[r].watermark = watermark
    block, length = rows[r].block, np.int64(rows[r].length)
    gone = 0
    while gone < length and tail[block + gone].at < watermark:
        e = rows[r].first
        while e != NONE:
            _advance(
                shape,
                times[e, START],
                times[e, TOOK],
                np.int64(entries[e].day),
                tail[block + gone].at,
                np.int64(tail[block + gone].mask),
            )
            e = entries[e].next
        gone += 1
    if gone > 0:
        for i in range(block, block + length - gone):
            tail[i].at = tail[i + gone].at
            tail[i].mask = tail[i + gone].mask
        rows[r].length = length - gone
        rows[r].emitted = length - gone  # nobody settles a row before it is shown
        if gone == length:
            free_block(tail, heads, np.int64(block), np.int64(rows[r].size))
            rows[r].size = NO_BLOCK
    before = NONE
    e = rows[r].first
    while e != NONE:
        topic_view = entries[e].next
        if (entries[e].day + 1) * DAY_MS + shape.window <= watermark:
            level = 0
            for step in range(shape.steps):
                if times[e, TOOK, step] != UNSET:
                    level = step + 1
            rows[r].closed = max(rows[r].closed, level)
            if before == NONE:
                rows[r].first = topic_view
            else:
                entries[before].next = topic_view
            entries[e].timer = 0
            entries[e].next = heads[FREE_ENTRY]
            heads[FREE_ENTRY] = e
        else:
            before = e
        e = topic_view
