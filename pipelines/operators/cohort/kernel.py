"""The cohort fold: in which period a person began, and in which periods they came back.

A row has the period of the person's first start, the last period in which they returned, and one
bit per period from `base` on: whether they returned in it. All of this is a union or a minimum, so
events may come in any order. An event whose period lies before the row's watermark, which is the
period of the allowed lateness before the newest event, is late: it is counted and left out. This
bounds how far a start can move back, and so how many bits are enough.

Changes are additions to the columns of a period, in which the counted persons began:

    column 0            persons
    columns 1 … n       of these, who came back in the 0th … n-1th period
    columns n+1 … 2n    of these, who came back in that period or later

If the cohort is broken down, a person counts for the value of their first start, to the
millisecond; of several at the same time, for the value with the least hash.
"""

import numpy as np

from pipelines.columnar.bits import drop, has, put
from pipelines.columnar.jit import Int, kernel
from pipelines.engine.constants import NONE
from pipelines.engine.row_kernels import CHANGES, accepts, add_row, mark_dirty, take_place
from pipelines.operators.cohort.columns import (
    NO_PERIOD,
    RETURNS,
    STARTS,
    CohortColumns,
    CohortEvents,
    Shape,
)


@kernel
def fold(shape: Shape, columns: CohortColumns, events: CohortEvents, begin: Int) -> Int:
    """Fold events from `begin` on.

    Returns how many are folded: fewer than all if the changes are full. Rows and bits must have
    room for one more per event.
    """
    rows, slots = columns.rows, events.slots
    for i in range(begin, len(slots)):
        if columns.counters[CHANGES] + 6 * (1 + shape.periods) > len(columns.changes):
            return i
        row = np.int64(columns.row_of[slots[i]])
        if row == NONE:
            row = add_row(columns, slots[i])
            rows[row].first = NO_PERIOD
            rows[row].last = NO_PERIOD
            rows[row].base = events.watermarks[i]
            rows[row].watermark = events.watermarks[i]
            columns.bits[row, :] = 0
        if not accepts(columns, row, events.offsets[i], events.periods[i]):
            continue
        mark_dirty(columns, row)
        rows[row].watermark = max(rows[row].watermark, events.watermarks[i])
        _rebase(shape, columns, row)
        period = np.int64(events.periods[i])
        if events.masks[i] & STARTS:
            _start(shape, columns, row, period, events.at[i], events.values[i])
        if events.masks[i] & RETURNS:
            _return(shape, columns, row, period)
    return len(slots)


@kernel
def _rebase(shape: Shape, columns: CohortColumns, row: Int) -> None:
    """Drop the bits of periods before any that the first start can still move back to."""
    rows = columns.rows
    base = np.int64(rows[row].watermark)
    if rows[row].first != NO_PERIOD:
        base = min(base, np.int64(rows[row].first))
    ahead = base - rows[row].base
    if ahead <= 0:
        return
    rows[row].base = base
    drop(columns.bits, shape.words, row, np.int64(ahead))


@kernel
def _start(
    shape: Shape, columns: CohortColumns, row: Int, period: Int, at: Int, value: Int
) -> None:
    """Take in a start, unless the person began before it."""
    rows, bits = columns.rows, columns.bits
    before: Int = np.int64(rows[row].first)
    if before != NO_PERIOD:
        if period > before or (period == before and not shape.broken_down):
            return
        if shape.broken_down and not _is_first(shape, columns, row, at, value):
            return
        if period < before or value != _value(shape, columns, row):
            _count(shape, columns, row, -1)
            before = NO_PERIOD
    rows[row].first = period
    if shape.broken_down:
        bits[row, shape.words] = np.uint64(at)
        bits[row, shape.words + 1] = value
    if before == NO_PERIOD:
        _count(shape, columns, row, 1)


@kernel
def _is_first(shape: Shape, columns: CohortColumns, row: Int, at: Int, value: Int) -> Int:
    """Return whether a start comes before the one that is the row's first so far."""
    first = np.int64(columns.bits[row, shape.words])
    return at < first or (at == first and value < columns.bits[row, shape.words + 1])


@kernel
def _value(shape: Shape, columns: CohortColumns, row: Int) -> Int:
    return columns.bits[row, shape.words + 1] if shape.broken_down else np.uint64(0)


@kernel
def _return(shape: Shape, columns: CohortColumns, row: Int, period: Int) -> None:
    """Take in a return: count it, if the person has begun and it is new."""
    rows, bits = columns.rows, columns.bits
    first, last = np.int64(rows[row].first), np.int64(rows[row].last)
    after = period - first  # which of the columns, if the person has begun by then
    begun = first != NO_PERIOD and after >= 0
    value = _value(shape, columns, row)
    place = period - rows[row].base
    if place < 64 * shape.words and not has(bits, shape.words, row, np.int64(place)):
        put(bits, row, np.int64(place))
        if begun and after < shape.periods:
            _add(columns, value, first, 1 + after, 1)
    if period > last:
        rows[row].last = period
        if begun:
            counted: Int = max(0, last - first + 1)
            for n in range(counted, min(shape.periods, after + 1)):
                _add(columns, value, first, 1 + shape.periods + n, 1)


@kernel
def _count(shape: Shape, columns: CohortColumns, row: Int, sign: Int) -> None:
    """Add (1) or take away (-1) all that a person counts for in their cohort."""
    rows, bits = columns.rows, columns.bits
    first, last = np.int64(rows[row].first), np.int64(rows[row].last)
    value = _value(shape, columns, row)
    _add(columns, value, first, 0, sign)
    for n in range(shape.periods):
        if has(bits, shape.words, row, np.int64(first + n - rows[row].base)):
            _add(columns, value, first, 1 + n, sign)
        if first + n <= last:
            _add(columns, value, first, 1 + shape.periods + n, sign)


@kernel
def _add(columns: CohortColumns, value: Int, period: Int, column: Int, added: Int) -> None:
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].value = value
    changes[i].period = period
    changes[i].column = column
    changes[i].added = added
