"""The fold of funnels with options: keep a person's events, and run their attempts again.

A row (a person) is the events that its attempts may still need, in order. An event of an open day
may start an attempt, which another event, up to the window later and up to the lateness after that,
may still change. So a day closes when its window lies before the row's watermark, which is the
row's newest event less the allowed lateness. The events of closed days are replaced by a summary of
the steps that were reached on them.

What a batch changed is the difference between the outcomes before it and after it. Most events are
the newest of their person and no attempt takes them: then nothing is evaluated. As in
`pipelines.operators.sequence`, events move the watermark of their own row only, and a row depends
on nothing but its events in order of arrival.

Kernels are pure. They stop when a column is full, and are called again when the caller has enlarged
it.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.engine.arena import NO_BLOCK, TAIL, append, prefetch_ahead
from pipelines.engine.constants import NEVER, NONE
from pipelines.engine.row_kernels import CHANGES, LATE, OVERFLOW, accepts, add_row, mark_dirty
from pipelines.operators.funnel.closing import close_days, first_open_at, next_due, open_from
from pipelines.operators.funnel.columns import (
    MAX_EVENTS,
    NO_TIMEOUT,
    FunnelColumns,
    FunnelEvents,
)
from pipelines.operators.funnel.outcomes import evaluate, max_outcomes, write_changes
from pipelines.operators.funnel.rules import Rules, changes_attempts


@kernel
def fold(rules: Rules, columns: FunnelColumns, events: FunnelEvents, begin: Int) -> Int:
    """Fold events from `begin` on, person after person.

    Returns how many are folded: fewer than all if the tail, the changes or the outcomes are full
    (`has_room`). Rows must have room for one more per event.
    """
    rows, tail, reached = columns.rows, columns.tail, columns.reached
    slots = events.slots
    i = begin
    while i < len(slots):
        prefetch_ahead(columns, slots, i)
        end = i
        while end < len(slots) and slots[end] == slots[i]:
            end += 1
        row = np.int64(columns.row_of[slots[i]])
        if row == NONE:
            row = new_row(columns, slots[i])
            rows[row].watermark = events.at[i] - rules.lateness
            rows[row].timed_out_until = NO_TIMEOUT
        if not has_room(rules, columns, row, end - i):
            return i
        known, count_before = np.int64(rows[row].length), NONE
        if not _come_last(columns, events.at, row, i, end):
            first = rows[row].block
            count_before = evaluate(rules, tail, first, first + known, columns.before, reached)
        i = _take_events(rules, columns, events, row, i, end)
        first = rows[row].block
        last = first + rows[row].length
        if count_before == NONE and changes_attempts(
            rules, tail, first, first + known, last, reached
        ):
            count_before = evaluate(rules, tail, first, first + known, columns.before, reached)
        if count_before != NONE:
            count_after = evaluate(rules, tail, first, last, columns.after, reached)
            write_changes(rules, columns, row, count_before, count_after)
            close_days(rules, columns, row)
            rows[row].next_due = next_due(rules, columns, row, count_after)
        elif close_days(rules, columns, row):
            first = rows[row].block
            last = first + rows[row].length
            count_after = evaluate(rules, tail, first, last, columns.after, reached)
            rows[row].next_due = next_due(rules, columns, row, count_after)
        elif rows[row].next_due == 0:
            rows[row].next_due = next_due(rules, columns, row, 0)
    return len(slots)


@kernel
def _take_events(
    rules: Rules, columns: FunnelColumns, events: FunnelEvents, row: Int, begin: Int, end: Int
) -> Int:
    """Insert a person's events from `begin` to `end` into their row; return how far it came.

    It stops at a full row that has days to be closed first. A full row that has none leaves events
    out, and counts them as late.
    """
    rows = columns.rows
    for i in range(begin, end):
        at = events.at[i]
        if not accepts(columns, row, events.offsets[i], at):
            continue
        rows[row].watermark = max(rows[row].watermark, at - rules.lateness)
        if rows[row].length == MAX_EVENTS:
            if first_open_at(columns, row) < open_from(rules, columns, row):
                return i
            columns.counters[LATE] += 1
            columns.counters[OVERFLOW] += 1
        else:
            mask = np.int64(events.masks[i])
            _insert(rules, columns, row, at, mask, events.held[i], events.values[i])
        mark_dirty(columns, row)
    return end


@kernel
def _come_last(columns: FunnelColumns, at: Int64s, row: Int, begin: Int, end: Int) -> Int:
    """Return whether events are newer than all that a row has, and come in order."""
    rows = columns.rows
    length = np.int64(rows[row].length)
    newest = columns.tail[rows[row].block + length - 1].at if length else NEVER
    for i in range(begin, end):
        if at[i] <= newest:
            return False
        newest = at[i]
    return True


@kernel
def has_room(rules: Rules, columns: FunnelColumns, row: Int, more: Int) -> Int:
    """Return whether `more` events can be added to a row."""
    length: Int = min(columns.rows[row].length + more, MAX_EVENTS)
    outcomes = max_outcomes(rules, length)
    changes = columns.counters[CHANGES] + 2 * outcomes * rules.steps
    return (
        columns.heads[TAIL] + 4 * length <= len(columns.tail)
        and changes <= len(columns.changes)
        and outcomes <= len(columns.after.records)
    )


@kernel
def new_row(columns: FunnelColumns, slot: Int) -> Int:
    """Add a row without events for a person; the caller sets its watermark and time-outs."""
    row = add_row(columns, slot)
    columns.rows[row].length = 0
    columns.rows[row].size_class = NO_BLOCK
    columns.rows[row].timer = 0
    columns.rows[row].next_due = 0
    return row


@kernel
def _insert(
    rules: Rules, columns: FunnelColumns, row: Int, at: Int, mask: Int, held: Int, value: Int
) -> None:
    """Insert an event into a row."""
    tail = columns.tail
    length = np.int64(columns.rows[row].length)
    block = append(columns, row, np.int64(columns.rows[row].block), length)
    place = block + length
    while place > block and _is_before(rules, columns, at, mask, held, value, place - 1):
        tail[place] = tail[place - 1]
        place -= 1
    tail[place].at = at
    tail[place].mask = mask
    tail[place].held = held
    tail[place].value = value


@kernel
def _is_before(
    rules: Rules, columns: FunnelColumns, at: Int, mask: Int, held: Int, value: Int, place: Int
) -> Int:
    """Return whether an event comes before the one at a place, whatever order both arrived in."""
    other = columns.tail[place]
    other_mask = np.int64(other.mask)
    if at != other.at:
        return at < other.at
    every = (1 << rules.steps) - 1
    if mask & every != other_mask & every:
        return mask & every < other_mask & every
    if mask != other_mask:
        return mask < other_mask
    if held != other.held:
        return held < other.held
    return value < other.value
