"""What time alone does to a funnel: windows close, and days can change no more.

An entry has at most one timer: until its window has closed with steps still to go it waits for
that, afterwards for the moment from which no event can change the day, so that it can be let go.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.kernel import DAY_MS, NONE, SHOWN, TIP, UNSET, Records, Shape

# What `expire` found, one line an entry that was due; `row` is NONE where nothing changed.
EXPIRED: Final = np.dtype(
    [
        ("at", np.int64),  # when the window closed
        ("due", np.int64),  # when the entry is to be looked at again, 0 if it is not
        ("row", np.int32),  # changed, and to be logged at once: no event will bring this back
        ("day", np.int32),
        ("step", np.int32),  # the furthest step reached, if its time-out is announced, else NONE
    ],
    align=True,
)


@kernel
def schedule(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    which: Int32s,
    due: Int64s,
    ids: Int32s,
) -> Int:
    """Set the timers of some rows; returns how many are written to `due`, which has room for all.

    There may be one for each entry.
    """
    count = 0
    for i in range(len(which)):
        count = schedule_row(shape, rows, entries, times, np.int64(which[i]), due, ids, count)
    return count


@kernel
def schedule_row(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    r: Int,
    due: Int64s,
    ids: Int32s,
    count: Int,
) -> Int:
    """Set the timers of a row that is brought up to date, as the `count`-th ones and following."""
    e = np.int64(rows[r].first)
    while e != NONE:
        when = _due(shape, entries, times, e)
        if entries[e].timer == 0 or when < entries[e].timer:
            entries[e].timer = when
            due[count] = when
            ids[count] = e
            count += 1
        e = np.int64(entries[e].next)
    return count


@kernel
def expire(
    shape: Shape,
    rows: Records,
    entries: Records,
    times: Records,
    tail: Records,
    heads: Int64s,
    now: Int,
    due: Int64s,
    ids: Int32s,
    expired: Records,
) -> None:
    """Look at the entries whose timers are due at `now`."""
    for i in range(len(ids)):
        e = np.int64(ids[i])
        expired[i].row = NONE
        expired[i].step = NONE
        expired[i].due = 0
        if entries[e].timer != due[i]:
            continue
        entries[e].timer = 0
        row, day = np.int64(entries[e].row), np.int64(entries[e].day)
        level = _level(shape, times, e)
        closes = day * DAY_MS + times[e, TIP, 0] + shape.window
        if level < shape.steps and entries[e].announced < level and closes < now:
            entries[e].announced = level
            expired[i].row = row
            expired[i].step = level - 1
            expired[i].day = day
            expired[i].at = closes
        if _last(shape, day) <= now:
            expired[i].row = row
            ff.settle(shape, rows, entries, times, tail, heads, row, now - shape.lateness)
        else:
            entries[e].timer = _due(shape, entries, times, e)
            expired[i].due = entries[e].timer


@kernel
def _level(shape: Shape, times: Records, e: Int) -> Int:
    level = 0
    for step in range(shape.steps):
        if times[e, SHOWN, step] != UNSET:
            level = step + 1
    return level


@kernel
def _due(shape: Shape, entries: Records, times: Records, e: Int) -> Int:
    level = _level(shape, times, e)
    if level < shape.steps and entries[e].announced < level:
        return entries[e].day * DAY_MS + times[e, TIP, 0] + shape.window + 1
    return _last(shape, np.int64(entries[e].day))


@kernel
def _last(shape: Shape, day: Int) -> Int:
    """From when on no event can change the entries of `day`."""
    return (day + 1) * DAY_MS + shape.window + shape.lateness
