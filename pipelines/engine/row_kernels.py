"""The first steps of every fold, as kernels that are inlined into it.

A fold finds or adds the person's row, skips events that the row contains already or that are late,
and remembers which rows it changed. Every operator passes its own NamedTuple of columns; the fields
named by `RowColumns` are the ones that all of them have.
"""

from typing import Final, NamedTuple, Protocol

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, StructArray, UInt32s, kernel
from pipelines.engine.rows import IN_BATCH

# The places of `counters`, which are 0 when a batch begins.
# OVERFLOW are those of the late events that do not fit their row.
CHANGES, LATE, DIRTY, NEWLY_DIRTY, TIMERS, OVERFLOW, COUNTERS = range(7)
# The first place of `heads`, which last as long as the rows: how many rows are used.
ROWS: Final = 0


class EventBatch(NamedTuple):
    """Events in order of arrival; bit i of a mask: the event matches the i-th selector."""

    slots: Int32s
    at: Int64s
    masks: UInt32s
    offsets: Int64s


class DueTimers(NamedTuple):
    """Timers, in any order: `ids[i]` is due at `due[i]` (ms)."""

    due: Int64s
    ids: Int32s


class RowColumns(Protocol):
    """The columns that all folds have in common."""

    @property
    def rows(self) -> StructArray:
        """The rows, which have `slot` and `dirty`; `is_late` needs `watermark`, too."""

    @property
    def heads(self) -> Int64s:
        """How much of each column is used."""

    @property
    def counters(self) -> Int64s:
        """How many changes, late events, dirty rows and timers the batch has."""

    @property
    def row_of(self) -> Int32s:
        """The row of each person, NONE if they have none."""

    @property
    def stamps(self) -> Int64s:
        """The source offset below which a row contains all events; empty unless restoring."""

    @property
    def dirty(self) -> Int32s:
        """The rows that the batch changed; has room for one per event."""


@kernel
def add_row(columns: RowColumns, slot: Int) -> Int:
    """Add a row for a person; the caller sets its other fields."""
    row = columns.heads[ROWS]
    columns.heads[ROWS] += 1
    columns.row_of[slot] = row
    columns.rows[row].slot = slot
    columns.rows[row].dirty = 0
    return row


@kernel
def contains(columns: RowColumns, row: Int, offset: Int) -> Int:
    """Return whether a row was logged after the event at `offset` had been folded into it."""
    return len(columns.stamps) > row and offset < columns.stamps[row]


@kernel
def is_late(columns: RowColumns, row: Int, time: Int) -> Int:
    """Return whether a time lies before the row's watermark, and count it if so."""
    if time < columns.rows[row].watermark:
        columns.counters[LATE] += 1
        return True
    return False


@kernel
def accepts(columns: RowColumns, row: Int, offset: Int, time: Int) -> Int:
    """Return whether to fold an event: the row does not contain it, and it is not late."""
    return not contains(columns, row, offset) and not is_late(columns, row, time)


@kernel
def mark_dirty(columns: RowColumns, row: Int) -> None:
    """Add a row to those that the batch changed, once."""
    if not columns.rows[row].dirty & IN_BATCH:
        columns.rows[row].dirty |= IN_BATCH
        columns.dirty[columns.counters[DIRTY]] = row
        columns.counters[DIRTY] += 1


@kernel
def take_place(counters: Int64s, counter: Int) -> Int:
    """Return the next free place of what a counter counts, and count it as used."""
    place = np.int64(counters[counter])
    counters[counter] = place + 1
    return place
