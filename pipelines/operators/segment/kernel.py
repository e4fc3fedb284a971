"""The segment fold: who is in, after each event and as time passes.

A row is a person's cells (`pipelines.operators.segment.program`), whether they are in, and `until`:
the first moment at which that may change without an event. Cells depend on the events alone.
Whether a person is in depends on the time too, so the fold has a clock, which neither events nor
`expire` ever put back: before an event is taken in, what time did until then is written down, at
the moment it did.
"""

from typing import Any, Final, TypeAlias

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.engine.rows import IN_BATCH
from pipelines.matching.match import Masks
from pipelines.operators.segment.program import (
    AFTER,
    AND,
    AT_LEAST,
    BEFORE,
    COUNT,
    EARLIEST,
    FOREVER,
    LONGER_AGO,
    NEVER,
    NOT,
    OR,
    PERFORMED,
    TOLD,
    TOLD_ONCE,
    WITHIN,
)

Records: TypeAlias = Any  # an array of one of the types below, which type checkers cannot tell
Flags: TypeAlias = Any  # a matrix of uint8

ROW: Final = np.dtype(
    [
        ("until", np.int64),  # when to look again: FOREVER, or RECHECK for as soon as possible
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("slot", np.int32),  # the person
        ("member", np.uint8),
        ("logged_member", np.uint8),  # what the log says, while a partition is being restored
        ("known", np.uint8),  # a change of theirs was announced
        ("dirty", np.uint8),
    ],
    align=True,
)
CHANGE: Final = np.dtype(
    [
        ("at", np.int64),  # since when it is so
        ("event_at", np.int64),  # the event that made it so, NEVER if it was time
        ("row", np.int32),
        ("entered", np.int32),  # 1, or 0 if they left
    ],
    align=True,
)
RECHECK: Final = NEVER
# What is told by an event of a property: nothing, or whether a condition holds of it.
NOTHING: Final = 0
FAILS: Final = 1
HOLDS: Final = 2

ROWS, CHANGES, TOUCHED, TIMERS, CLOCK, HEADS = range(6)


@kernel
def fold(
    registers: Records,
    code: Records,
    blank: Int64s,
    rows: Records,
    cells: Any,
    changes: Records,
    heads: Int64s,
    row_of: Int32s,
    dirty: Int32s,
    due: Int64s,
    ids: Int32s,
    slots: Int32s,
    at: Int64s,
    masks: Masks,
    told: Flags,
    performed: Masks,
    offsets: Int64s,
    stamps: Int64s,
    values: Int64s,
    untils: Int64s,
    begin: Int,
) -> Int:
    """Fold events `begin` and following, which stand in order of arrival.

    `told[i]` is what event i tells of properties, bit j of `performed[i]` that it completes the
    j-th of the orders. Returns how many are folded: fewer than all if the changes are full, to be
    called again when there is room. Where `stamps` are given, events at offsets below a row's stamp
    are in it already. Rows, cells, `dirty`, `due` and `ids` must have room for one more each per
    event; `values` and `untils` for the program's depth.
    """
    for i in range(begin, len(slots)):
        if heads[CHANGES] + 2 * len(code) + 2 > len(changes):
            return i
        r = np.int64(row_of[slots[i]])
        news = r == -1
        if news:
            r = heads[ROWS]
            heads[ROWS] += 1
            row_of[slots[i]] = r
            rows[r].slot = slots[i]
            rows[r].until = FOREVER
            rows[r].timer = 0
            rows[r].member = 0
            rows[r].logged_member = 0
            rows[r].known = 0
            rows[r].dirty = 0
            for c in range(len(blank)):
                cells[r, c] = blank[c]
        if len(stamps) > r and offsets[i] < stamps[r]:
            continue
        heads[CLOCK] = max(heads[CLOCK], at[i])
        now = heads[CLOCK]
        _pass(code, rows, cells, changes, heads, values, untils, r, now)
        for j in range(len(registers)):
            if _write(registers[j], cells[r], at[i], np.int64(masks[i]), told[i], performed[i]):
                news = True
        if news:
            if not rows[r].dirty & IN_BATCH:
                rows[r].dirty |= IN_BATCH
                dirty[heads[TOUCHED]] = r
                heads[TOUCHED] += 1
            _look(code, rows, cells, changes, heads, values, untils, r, now, at[i])
        if _set_timer(rows, r):
            due[heads[TIMERS]] = rows[r].timer
            ids[heads[TIMERS]] = r
            heads[TIMERS] += 1
    return len(slots)


@kernel
def expire(
    code: Records,
    rows: Records,
    cells: Any,
    changes: Records,
    heads: Int64s,
    now: Int,
    due: Int64s,
    ids: Int32s,
    again: Int64s,
    values: Int64s,
    untils: Int64s,
    begin: Int,
) -> Int:
    """Look at the rows whose timers are due at `now`, from the `begin`-th on.

    `again[i]` becomes when to look at row `ids[i]` again, 0 for never. Returns how many are done:
    fewer than all if the changes are full, to be called again when there is room.
    """
    for i in range(begin, len(ids)):
        if heads[CHANGES] + 2 * len(code) + 2 > len(changes):
            return i
        r = np.int64(ids[i])
        again[i] = 0
        if rows[r].timer != due[i]:
            continue
        rows[r].timer = 0
        _pass(code, rows, cells, changes, heads, values, untils, r, now)
        if _set_timer(rows, r):
            again[i] = rows[r].timer
    return len(ids)


@kernel
def _set_timer(rows: Records, r: Int) -> Int:
    """Have the row's timer be no later than `until`; tells whether it was set."""
    until = rows[r].until
    if until == FOREVER or (rows[r].timer != 0 and rows[r].timer <= until):
        return False
    rows[r].timer = until
    return True


# ── what an event leaves behind ──────────────────────────────────────────────────────────────────


@kernel
def _write(register: Any, cells: Int64s, at: Int, mask: Int, told: Flags, performed: Int) -> Int:
    """Take one event into one register; tells whether that made a difference."""
    kind, source, c = register.kind, register.source, register.cell
    if kind == PERFORMED:
        if (np.int64(performed) >> source) & 1 == 0 or cells[c] == 1:
            return False
        cells[c] = 1
        return True
    if kind in (TOLD, TOLD_ONCE):
        # Of equal times the last one counts in `$set`, the first one in `$set_once`.
        later = at >= cells[c] if kind == TOLD else at < cells[c]
        if told[source] == NOTHING or not later:
            return False
        cells[c] = at
        cells[c + 1] = told[source] == HOLDS
        return True
    if (mask >> source) & 1 == 0:
        return False
    if kind == COUNT:
        cells[c] += 1
        return True
    if kind == EARLIEST:
        if at >= cells[c]:
            return False
        cells[c] = at
        return True
    place = c + register.size
    while place > c and cells[place - 1] < at:
        place -= 1
    if place == c + register.size:
        return False
    for moved in range(c + register.size - 1, place, -1):
        cells[moved] = cells[moved - 1]
    cells[place] = at
    return True


# ── whether it holds ─────────────────────────────────────────────────────────────────────────────


@kernel
def _pass(
    code: Records,
    rows: Records,
    cells: Any,
    changes: Records,
    heads: Int64s,
    values: Int64s,
    untils: Int64s,
    r: Int,
    now: Int,
) -> None:
    """Let time pass for a row, from moment to moment at which it may have changed it."""
    while rows[r].until <= now:
        moment = now if rows[r].until == RECHECK else rows[r].until
        _look(code, rows, cells, changes, heads, values, untils, r, moment, NEVER)


@kernel
def _look(
    code: Records,
    rows: Records,
    cells: Any,
    changes: Records,
    heads: Int64s,
    values: Int64s,
    untils: Int64s,
    r: Int,
    moment: Int,
    event_at: Int,
) -> None:
    """See whether the person is in at a moment, and write it down if that is new."""
    member, until = _evaluate(code, cells[r], values, untils, moment)
    rows[r].until = until
    if member == rows[r].member:
        return
    rows[r].member = member
    rows[r].known = 1
    i = heads[CHANGES]
    heads[CHANGES] += 1
    changes[i].row = r
    changes[i].at = moment
    changes[i].event_at = event_at
    changes[i].entered = member


@kernel
def _evaluate(
    code: Records, cells: Int64s, values: Int64s, untils: Int64s, now: Int
) -> tuple[Int, Int]:
    """Whether the rule holds at `now`, and the first moment from which on it may be otherwise."""
    top = 0
    for i in range(len(code)):
        op = code[i].op
        if op == NOT:
            values[top - 1] = 1 - values[top - 1]
            continue
        if op in (AND, OR):
            top -= code[i].number
            value, until = _together(values, untils, top, code[i].number, np.int64(op == OR))
        else:
            value, until = _ask(code[i], cells, now)
        values[top] = value
        untils[top] = until
        top += 1
    return values[0], untils[0]


@kernel
def _together(
    values: Int64s, untils: Int64s, begin: Int, count: Int, decisive: Int
) -> tuple[Int, Int]:
    """Operands from `begin` on: one that is `decisive` decides, and for as long as it is."""
    decided = False
    longest: Int = np.int64(NEVER)
    shortest: Int = np.int64(FOREVER)
    for i in range(begin, begin + count):
        if values[i] == decisive:
            decided = True
            longest = max(longest, untils[i])
        else:
            shortest = min(shortest, untils[i])
    if decided:
        return decisive, longest
    return 1 - decisive, shortest


@kernel
def _ask(instruction: Any, cells: Int64s, now: Int) -> tuple[Int, Int]:
    op, c, number = instruction.op, instruction.cell, instruction.number
    forever = np.int64(FOREVER)
    time = cells[c]
    if op == AT_LEAST:
        return np.int64(time >= number), forever
    if op in (BEFORE, AFTER, WITHIN, LONGER_AGO):
        if time in (NEVER, FOREVER):
            return np.int64(0), forever
        if op == BEFORE:
            return np.int64(time < number), forever
        if op == AFTER:
            return np.int64(time > number), forever
        over = time + number + 1  # the first moment at which it is too long ago
        if now < over:
            return np.int64(op == WITHIN), over
        return np.int64(op == LONGER_AGO), forever
    if time != NEVER:
        return cells[c + 1], forever
    if cells[c + 2] != FOREVER:
        return cells[c + 3], forever
    return number, forever
