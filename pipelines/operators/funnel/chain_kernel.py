"""The fold of funnels with options: a person's events are kept, and their chains run anew.

A row (a person in a funnel) is the events that chains may still need, in order. An event of an open
day may begin a chain that another event, up to the window later and up to the lateness after that,
still changes; so a day is closed when its window has passed behind the row's `horizon`, which is
the row's newest event less the allowed lateness. Events of closed days go, and leave behind a
summary of the steps reached on them.

What a batch changed is the difference between what `evaluate` says after it and before it. Most
events come last and are taken by no chain: then there is none, and nothing is evaluated. As in
`pipelines.operators.sequence.kernel`, the horizon moves with the row's own events only, so that the
fold of a row is a function of its events in their order of arrival and of nothing else.

Everything here is pure: kernels over columns, growing is left to the caller.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, UInt64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.matching.match import Masks
from pipelines.operators.funnel.chain_rules import (
    ALL,
    AT,
    CLOSED,
    COUNT,
    NEVER,
    START,
    Records,
    Rules,
    cells_needed,
    day_of,
    evaluate,
    find_cell,
    is_entry,
    run_chain,
    takes_up,
)
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.kernel import CHANGES, DAY_MS, LATE, NONE, ROWS, TAIL, UNSET

MAX_EVENTS: Final = 4_096
BLOCK_CLASSES: Final = 12  # blocks of 2, 4, … 4,096 events
HEADS: Final = ff.FREE_BLOCK + BLOCK_CLASSES
UNKNOWN: Final = -1

ROW: Final = np.dtype(
    [
        ("watermark", np.int64),  # events before it are late
        ("told", np.int64),  # windows that closed before it are announced
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("due", np.int64),  # when something is to be done next, 0 if nothing is
        ("slot", np.int32),  # the person
        ("block", np.int32),  # where in the tail its events are
        ("length", np.int16),  # how many they are
        ("size", np.uint8),  # the class of its block, or NO_BLOCK
        ("dirty", np.uint8),
    ],
    align=True,
)
# As `funnel_fold.CHANGE`, how many chains more, and of which value.
CHANGE: Final = np.dtype(
    [
        ("before", np.int64),
        ("after", np.int64),
        ("at", np.int64),
        ("row", np.int32),
        ("day", np.int32),
        ("step", np.int32),
        ("entries", np.int32),
        ("value", np.uint64),
        ("scope", np.uint8),  # ALL of the day's chains, or those of the VALUE
    ],
    align=True,
)


@kernel
def fold(
    rules: Rules,
    rows: Records,
    tail: Records,
    changes: Records,
    cells: Records,
    numbers: Int64s,
    heads: Int64s,
    row_of: Int32s,
    dirty: Int32s,
    slots: Int32s,
    at: Int64s,
    masks: Masks,
    held: UInt64s,
    values: UInt64s,
    offsets: Int64s,
    stamps: Int64s,
    reached: Int64s,
    begin: Int,
) -> Int:
    """Fold events `begin` and following: person after person, each in order of arrival.

    Returns how many are folded: fewer than all if the tail, the changes or the cells are full, to
    be called again when there is room (see `room`). Where `stamps` are given, events at offsets
    below a row's stamp are in it already. Rows and `dirty` must have room for one more each per
    event. `cells` and `numbers` are for what was true before, and what is after;
    `reached` is room for a number a step.
    """
    i = begin
    while i < len(at):
        _ask_ahead(rows, tail, row_of, slots, i)
        end = i
        while end < len(at) and slots[end] == slots[i]:
            end += 1
        r = _row(rules, rows, heads, row_of, slots[i], at[i])
        if not room(rules, rows, tail, changes, cells, heads, r, end - i):
            return i
        known, before = np.int64(rows[r].length), UNKNOWN
        if not _come_last(rows, tail, at, r, i, end):
            first = rows[r].block
            before = evaluate(rules, tail, first, first + known, cells[0], numbers[0], reached)
        while i < end:
            if len(stamps) > r and offsets[i] < stamps[r]:
                i += 1
                continue
            if at[i] < rows[r].watermark:
                heads[LATE] += 1
                i += 1
                continue
            rows[r].watermark = max(rows[r].watermark, at[i] - rules.lateness)
            if rows[r].length == MAX_EVENTS:
                if _first(tail, rows[r].block, MAX_EVENTS) < _open_from(rules, rows, r):
                    break  # to let go of what is over by now, and then to look again
                heads[LATE] += 1
            else:
                _insert(rules, rows, tail, heads, r, at[i], np.int64(masks[i]), held[i], values[i])
            i += 1
            ff.touch(rows, dirty, heads, r)
        first = rows[r].block
        last = first + rows[r].length
        if before == UNKNOWN and takes_up(rules, tail, first, first + known, last, reached):
            before = evaluate(rules, tail, first, first + known, cells[0], numbers[0], reached)
        if before != UNKNOWN:
            after = evaluate(rules, tail, first, last, cells[1], numbers[1], reached)
            _write_changes(rules, changes, heads, r, cells, numbers, before, after)
            settle(rules, rows, tail, heads, r, reached)
            rows[r].due = due_at(rules, rows, tail, r, cells[1], numbers[1], after)
        elif settle(rules, rows, tail, heads, r, reached):
            first = rows[r].block
            last = first + rows[r].length
            after = evaluate(rules, tail, first, last, cells[1], numbers[1], reached)
            rows[r].due = due_at(rules, rows, tail, r, cells[1], numbers[1], after)
        elif rows[r].due == 0:
            rows[r].due = due_at(rules, rows, tail, r, cells[1], numbers[1], 0)
    return len(at)


@kernel
def _come_last(rows: Records, tail: Records, at: Int64s, r: Int, begin: Int, end: Int) -> bool:
    """Whether events come after all that a row has, and one after the other."""
    length = np.int64(rows[r].length)
    newest = tail[rows[r].block + length - 1].at if length else NEVER
    for i in range(begin, end):
        if at[i] <= newest:
            return False
        newest = at[i]
    return True


@kernel
def _ask_ahead(rows: Records, tail: Records, row_of: Int32s, slots: Int32s, i: Int) -> None:
    # The slots ascend, so that the rows' numbers are on their way by themselves.
    if i + FAR < len(slots):
        prefetch(rows, row_of[slots[i + FAR]])
    if i + NEAR < len(slots):
        r = row_of[slots[i + NEAR]]
        if r != NONE:
            prefetch(tail, rows[r].block)
            prefetch(tail, rows[r].block + 2)  # two to a cache line


@kernel
def room(
    rules: Rules,
    rows: Records,
    tail: Records,
    changes: Records,
    cells: Records,
    heads: Int64s,
    r: Int,
    more: Int,
) -> Int:
    """Whether `more` events can be added to a row."""
    length: Int = min(rows[r].length + more, MAX_EVENTS)
    needed = cells_needed(rules, length)
    return (
        heads[TAIL] + 4 * length <= len(tail)
        and heads[CHANGES] + 2 * needed * rules.steps <= len(changes)
        and needed <= cells.shape[1]
    )


@kernel
def _row(rules: Rules, rows: Records, heads: Int64s, row_of: Int32s, slot: Int, at: Int) -> Int:
    r = np.int64(row_of[slot])
    if r == NONE:
        r = blank_row(rows, heads, row_of, slot)
        rows[r].watermark = at - rules.lateness
        rows[r].told = NEVER
    return r


@kernel
def blank_row(rows: Records, heads: Int64s, row_of: Int32s, slot: Int) -> Int:
    """A new row."""
    r = heads[ROWS]
    heads[ROWS] += 1
    row_of[slot] = r
    rows[r].slot = slot
    rows[r].length = 0
    rows[r].size = ff.NO_BLOCK
    rows[r].timer = 0
    rows[r].due = 0
    rows[r].dirty = 0
    return r


@kernel
def _insert(
    rules: Rules,
    rows: Records,
    tail: Records,
    heads: Int64s,
    r: Int,
    at: Int,
    mask: Int,
    held: Int,
    value: Int,
) -> None:
    """Put an event into its place."""
    block = append(rows, tail, heads, r)
    place = np.int64(block + rows[r].length - 1)
    while place > block and _is_before(rules, at, mask, held, value, tail, place - 1):
        tail[place] = tail[place - 1]
        place -= 1
    tail[place].at = at
    tail[place].mask = mask
    tail[place].held = held
    tail[place].value = value


@kernel
def append(rows: Records, tail: Records, heads: Int64s, r: Int) -> Int:
    """Make a row one event longer; returns where its events are now."""
    length = np.int64(rows[r].length)
    block = np.int64(rows[r].block)
    if rows[r].size == ff.NO_BLOCK or length == ff.SMALLEST_BLOCK << rows[r].size:
        block = ff.enlarge(rows, tail, heads, r)
    rows[r].length = length + 1
    return block


@kernel
def _is_before(
    rules: Rules, at: Int, mask: Int, held: Int, value: Int, tail: Records, place: Int
) -> Int:
    other = np.int64(tail[place].mask)
    if at != tail[place].at:
        return at < tail[place].at
    every = (1 << rules.steps) - 1
    if mask & every != other & every:
        return mask & every < other & every
    if mask != other:
        return mask < other
    if held != tail[place].held:
        return held < tail[place].held
    return value < tail[place].value


@kernel
def settle(
    rules: Rules, rows: Records, tail: Records, heads: Int64s, r: Int, reached: Int64s
) -> bool:
    """Let go of the events of closed days, and keep which steps were reached on them.

    Tells whether there were any.
    """
    block, length = np.int64(rows[r].block), np.int64(rows[r].length)
    open_from = _open_from(rules, rows, r)
    kept = gone = block
    end = block + length
    while gone < end and tail[gone].at < open_from:
        mask: Int = np.int64(tail[gone].mask)
        if tail[gone].at == CLOSED:
            kept = _summarise(tail, block, kept, mask, tail[gone].value)
        elif is_entry(rules, mask):
            value, _ = run_chain(rules, tail, gone, end, reached)
            kept = _summarise(tail, block, kept, _steps_of(rules, reached), value)
        gone += 1
    if gone == kept:
        return False
    for place in range(gone, end):
        tail[kept] = tail[place]
        kept += 1
    rows[r].length = kept - block
    if kept == block:
        ff.free_block(tail, heads, block, np.int64(rows[r].size))
        rows[r].size = ff.NO_BLOCK
    return True


@kernel
def _steps_of(rules: Rules, reached: Int64s) -> Int:
    """The steps that are reached, as a mask."""
    mask = 0
    for step in range(rules.steps):
        if reached[step] != NEVER:
            mask |= 1 << step
    return mask


@kernel
def _summarise(tail: Records, block: Int, kept: Int, mask: Int, value: Int) -> Int:
    """Add steps to the summary of a value, which are those up to `kept`; returns their new end.

    What is overwritten by a new one is an event that no chain needs any more.
    """
    for place in range(block, kept):
        if tail[place].value == value:
            tail[place].mask |= np.uint32(mask)
            return kept
    tail[kept].at = CLOSED
    tail[kept].mask = mask
    tail[kept].held = 0
    tail[kept].value = value
    return kept + 1


@kernel
def due_at(
    rules: Rules, rows: Records, tail: Records, r: Int, cells: Records, numbers: Int64s, count: Int
) -> Int:
    """When something is to be done next for a row: a window closes, or a day. 0 for never."""
    due = np.int64(0)
    first = _first(tail, rows[r].block, rows[r].length)
    if first != CLOSED:
        due = final_at(rules, day_of(first))
    for c in range(1, count):
        if cells[c].scope != ALL or cells[c].day * DAY_MS < _open_from(rules, rows, r):
            continue  # closed, and let go
        closes = cells[c].latest + rules.window
        if numbers[c, AT, rules.steps - 1] == NEVER and closes >= rows[r].told:
            due = min(due, closes + 1)
    return due


@kernel
def close_days(
    rules: Rules, rows: Records, tail: Records, heads: Int64s, now: Int, r: Int, reached: Int64s
) -> bool:
    """Close those of a row's days that can change no more; tells whether there are any."""
    first = _first(tail, rows[r].block, rows[r].length)
    if first == CLOSED or final_at(rules, day_of(first)) > now:
        return False
    rows[r].watermark = max(rows[r].watermark, now - rules.lateness)
    settle(rules, rows, tail, heads, r, reached)
    return True


@kernel
def _open_from(rules: Rules, rows: Records, r: Int) -> Int:
    """When the row's oldest day begins that is not closed."""
    return day_of(rows[r].watermark - rules.window) * DAY_MS


@kernel
def _first(tail: Records, block: Int, length: Int) -> Int:
    """The time of the first event that is no summary; `CLOSED` if there is none."""
    for place in range(block, block + length):
        if tail[place].at != CLOSED:
            return tail[place].at
    return CLOSED


@kernel
def final_at(rules: Rules, day: Int) -> Int:
    """From when on no event can change the entries of `day`."""
    return (day + 1) * DAY_MS + rules.window + rules.lateness


# ── what has become different ────────────────────────────────────────────────────────────────────


@kernel
def _write_changes(
    rules: Rules,
    changes: Records,
    heads: Int64s,
    r: Int,
    cells: Records,
    numbers: Int64s,
    before: Int,
    after: Int,
) -> None:
    """Write down how the cells differ."""
    for a in range(after):
        cell = cells[1, a]
        b = find_cell(cells[0], before, cell.day, cell.scope, cell.value)
        for step in range(rules.steps):
            was, count = UNSET, np.int64(0)
            if b < before:
                was, count = _took(numbers[0, b], step), numbers[0, b, COUNT, step]
            now, more = _took(numbers[1, a], step), numbers[1, a, COUNT, step] - count
            at = numbers[1, a, AT, step]
            _write(rules, changes, heads, r, cell, step, was, now, at, more)
    for b in range(before):
        cell = cells[0, b]
        if find_cell(cells[1], after, cell.day, cell.scope, cell.value) == after:
            for step in range(rules.steps):
                was, less = _took(numbers[0, b], step), -numbers[0, b, COUNT, step]
                _write(rules, changes, heads, r, cell, step, was, UNSET, 0, less)


@kernel
def _took(cell: Int64s, step: Int) -> Int:
    return UNSET if cell[AT, step] == NEVER else cell[AT, step] - cell[START, step]


@kernel
def _write(
    rules: Rules,
    changes: Records,
    heads: Int64s,
    r: Int,
    cell: Records,
    step: Int,
    before: Int,
    after: Int,
    at: Int,
    entries: Int,
) -> None:
    if before == after and (entries == 0 or not rules.entries):
        return
    i = heads[CHANGES]
    heads[CHANGES] += 1
    changes[i].row = r
    changes[i].day = cell.day
    changes[i].step = step
    changes[i].before = before
    changes[i].after = after
    changes[i].at = at
    changes[i].entries = entries
    changes[i].value = cell.value
    changes[i].scope = cell.scope
