"""The entries of a row: one per day on which the person took the first step."""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.columnar.prefetch import prefetch
from pipelines.engine.constants import NONE
from pipelines.engine.days import begin_of_day
from pipelines.operators.sequence.columns import (
    BASE_DURATION,
    BASE_START,
    EMITTED_DURATION,
    ENTRIES,
    FREE_ENTRY,
    START,
    SequenceColumns,
    SequenceShape,
)


@kernel
def find_or_add_entry(shape: SequenceShape, columns: SequenceColumns, row: Int, day: Int) -> Int:
    """Return the row's entry for a day, and add it if there is none."""
    rows, entries, times = columns.rows, columns.entries, columns.times
    newer = NONE
    e = rows[row].newest_entry
    while e != NONE and entries[e].day > day:
        newer = e
        e = entries[e].next_entry
    if e != NONE and entries[e].day == day:
        return e
    older = e
    e = _take_entry(columns)
    entries[e].row = row
    entries[e].day = day
    entries[e].next_entry = older
    entries[e].timed_out_level = 0
    entries[e].timer = 0
    for step in range(shape.steps):
        times[e, BASE_START, step] = NONE
        times[e, BASE_DURATION, step] = NONE
        times[e, EMITTED_DURATION, step] = NONE
        times[e, START, step] = NONE
    if newer == NONE:
        rows[row].newest_entry = e
    else:
        entries[newer].next_entry = e
    return e


@kernel
def _take_entry(columns: SequenceColumns) -> Int:
    """Return a free entry, or the next one that was never used."""
    heads = columns.heads
    e = heads[FREE_ENTRY]
    if e != NONE:
        heads[FREE_ENTRY] = columns.entries[e].next_entry
    else:
        e = heads[ENTRIES]
        heads[ENTRIES] += 1
    return e


@kernel
def free_entry(columns: SequenceColumns, e: Int) -> None:
    """Put an entry, which no row refers to any more, on the list of free ones."""
    columns.entries[e].next_entry = columns.heads[FREE_ENTRY]
    columns.heads[FREE_ENTRY] = e


@kernel
def max_days(columns: SequenceColumns, row: Int) -> Int:
    """Return how many days the row may have after its tail is folded; the total counts as one."""
    days = 1 + columns.rows[row].length
    e = columns.rows[row].newest_entry
    while e != NONE:
        days += 1
        e = columns.entries[e].next_entry
    return days


@kernel
def prefetch_row(columns: SequenceColumns, row: Int) -> None:
    """Prefetch what a row refers to: its events and its newest entry."""
    e = columns.rows[row].newest_entry
    prefetch(columns.tail, columns.rows[row].block)
    prefetch(columns.entries, e)
    prefetch(columns.times, e)
    prefetch(columns.times, e + 1)  # an entry's times may be on two cache lines


@kernel
def level_of(shape: SequenceShape, durations: Int64s) -> Int:
    """Return the level of an entry: the last step that has a duration, from 1."""
    level = 0
    for step in range(shape.steps):
        if durations[step] != NONE:
            level = step + 1
    return level


@kernel
def advance(
    shape: SequenceShape, start: Int64s, duration: Int64s, day: Int, at: Int, mask: Int
) -> Int:
    """Advance an entry by one event; return the steps that it reached first, as a mask."""
    reached = 0
    midnight = begin_of_day(shape.days, day)
    for step in range(shape.steps):
        if not (mask >> step) & 1:
            continue
        if step == 0:
            if at < midnight or at >= begin_of_day(shape.days, day + 1):
                continue
            start[0] = at - midnight
        else:
            previous = start[step - 1]
            if previous == NONE or at > midnight + previous + shape.window:
                continue
            start[step] = previous
        if duration[step] == NONE:
            duration[step] = at - midnight - start[step]
            reached |= 1 << step
    return reached


@kernel
def close_days(shape: SequenceShape, columns: SequenceColumns, row: Int, watermark: Int) -> None:
    """Free the entries of days that no event can change any more; keep the level they reached."""
    rows, entries = columns.rows, columns.entries
    newer = NONE
    e = rows[row].newest_entry
    while e != NONE:
        older = entries[e].next_entry
        end = begin_of_day(shape.days, np.int64(entries[e].day) + 1)
        if end + shape.window <= watermark:
            level = level_of(shape, columns.times[e, BASE_DURATION])
            rows[row].closed_level = max(rows[row].closed_level, level)
            if newer == NONE:
                rows[row].newest_entry = older
            else:
                entries[newer].next_entry = older
            entries[e].timer = 0
            free_entry(columns, e)
        else:
            newer = e
        e = older
