"""The segment fold: who is in, after each event and as time passes.

A row is a person's cells (`pipelines.operators.segment.program`), whether they are in, and `until`:
the first time at which that may change without an event. Cells depend on events alone. Membership
depends on time, too, so the fold has a clock, which neither events nor `expire` turn back: before
an event is folded, what time has changed since is written, with the time at which it changed.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.constants import FOREVER, NEVER, NONE
from pipelines.engine.row_kernels import (
    CHANGES,
    TIMERS,
    DueTimers,
    add_row,
    contains,
    mark_dirty,
    take_place,
)
from pipelines.operators.segment.columns import (
    CLOCK,
    RECHECK,
    CompiledRule,
    SegmentColumns,
    SegmentEvents,
)
from pipelines.operators.segment.evaluate import evaluate
from pipelines.operators.segment.registers import record


@kernel
def fold(rule: CompiledRule, columns: SegmentColumns, events: SegmentEvents, begin: Int) -> Int:
    """Fold events from `begin` on.

    Returns how many are folded: fewer than all if the changes are full. Rows and cells must have
    room for one more per event.
    """
    rows, cells, heads = columns.rows, columns.cells, columns.heads
    slots = events.slots
    for i in range(begin, len(slots)):
        if not _has_room(rule, columns):
            return i
        row = np.int64(columns.row_of[slots[i]])
        changed = row == NONE
        if changed:
            row = _add_row(rule, columns, slots[i])
        if contains(columns, row, events.offsets[i]):
            continue
        at = events.at[i]
        heads[CLOCK] = max(heads[CLOCK], events.clocks[i])
        now = heads[CLOCK]
        _pass_time(rule, columns, row, now)
        mask, verdicts, completed = (
            np.int64(events.masks[i]),
            events.verdicts[i],
            events.completed[i],
        )
        for j in range(len(rule.registers)):
            if record(rule.registers[j], cells[row], at, mask, verdicts, completed):
                changed = True
        if changed:
            mark_dirty(columns, row)
            _update(rule, columns, row, now, at)
        if _set_timer(columns, row):
            place = take_place(columns.counters, TIMERS)
            columns.timers.due[place] = rows[row].timer
            columns.timers.ids[place] = row
    return len(slots)


@kernel
def expire(
    rule: CompiledRule,
    columns: SegmentColumns,
    now: Int,
    timers: DueTimers,
    again: Int64s,
    begin: Int,
) -> Int:
    """Let time pass for the rows whose timers are due at `now`, from the `begin`-th on.

    `again[i]` gets when the timer of row `timers.ids[i]` is due next, 0 for never. Returns how many
    are done: fewer than all if the changes are full.
    """
    rows = columns.rows
    for i in range(begin, len(timers.ids)):
        if not _has_room(rule, columns):
            return i
        row = np.int64(timers.ids[i])
        again[i] = 0
        if rows[row].timer != timers.due[i]:
            continue
        rows[row].timer = 0
        _pass_time(rule, columns, row, now)
        if _set_timer(columns, row):
            again[i] = rows[row].timer
    return len(timers.ids)


@kernel
def _has_room(rule: CompiledRule, columns: SegmentColumns) -> Int:
    """Return whether there is room for all changes that one event may make."""
    return columns.counters[CHANGES] + 2 * len(rule.code) + 2 <= len(columns.changes)


@kernel
def _add_row(rule: CompiledRule, columns: SegmentColumns, slot: Int) -> Int:
    rows, cells = columns.rows, columns.cells
    row = add_row(columns, slot)
    rows[row].until = FOREVER
    rows[row].timer = 0
    rows[row].member = 0
    rows[row].logged_member = 0
    rows[row].published = 0
    for c in range(len(rule.blank)):
        cells[row, c] = rule.blank[c]
    return row


@kernel
def _set_timer(columns: SegmentColumns, row: Int) -> Int:
    """Set the row's timer to `until` if it is due later or never; return whether it was set."""
    rows = columns.rows
    until = rows[row].until
    if until == FOREVER or (rows[row].timer != 0 and rows[row].timer <= until):
        return False
    rows[row].timer = until
    return True


@kernel
def _pass_time(rule: CompiledRule, columns: SegmentColumns, row: Int, now: Int) -> None:
    """Let time pass for a row, from one time at which membership may change to the next."""
    rows = columns.rows
    while rows[row].until <= now:
        time = now if rows[row].until == RECHECK else rows[row].until
        _update(rule, columns, row, time, NEVER)


@kernel
def _update(
    rule: CompiledRule, columns: SegmentColumns, row: Int, time: Int, event_at: Int
) -> None:
    """Evaluate whether the person is in at a time, and write a change if that is new."""
    rows, changes = columns.rows, columns.changes
    member, until = evaluate(rule, columns.cells[row], time)
    rows[row].until = until
    if member == rows[row].member:
        return
    rows[row].member = member
    rows[row].published = 1
    i = take_place(columns.counters, CHANGES)
    changes[i].row = row
    changes[i].at = time
    changes[i].event_at = event_at
    changes[i].entered = member
