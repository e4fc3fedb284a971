"""Rows of persons: the columns that the states of all operators have in common.

A row is added with the first event of a person that the definition selects. Columns grow by half
when they are full, so no capacity has to be chosen.
"""

from typing import ClassVar, Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int, Int32s, Int64s, StructArray, kernel
from pipelines.columnar.prefetch import FAR, prefetch
from pipelines.engine.constants import NONE
from pipelines.engine.operator import NO_ROWS, StateColumn, StateColumns

# The bits of a row's `dirty`.
IN_BATCH: Final = 1  # touched by this batch
UNLOGGED: Final = 2  # touched since it was last logged

_NO_STAMPS: Final = np.empty(0, np.int64)


class PersonRows:
    """Rows of a type that has `slot` (int32, the person) and `dirty` (uint8).

    `heads[0]` is the number of rows. While a partition is being restored, `stamps` are the source
    offsets below which a row already holds all events; otherwise it is empty.
    """

    by_person: ClassVar[bool] = True

    def __init__(self, row: np.dtype[np.void], heads: int) -> None:
        self.heads = np.zeros(heads, np.int64)
        self.row_of = np.empty(0, np.int32)
        self.rows: StateColumn = np.zeros(64, row)
        self.stamps: Int64s = _NO_STAMPS

    @property
    def size(self) -> int:
        """Number of rows: persons with at least one event that the definition selects."""
        return int(self.heads[0])

    def rows_of(self, persons: Int32s) -> Int32s:
        """Return the rows of some persons, `NONE` for a person who has none."""
        known = persons < len(self.row_of)
        rows = np.full(len(persons), NONE, np.int32)
        rows[known] = self.row_of[persons[known]]
        return rows

    def persons_of(self, rows: Int32s) -> Int32s:
        """Return the persons of some rows."""
        persons: Int32s = self.rows["slot"][rows]
        return persons

    def touch(self, rows: Int32s) -> Int32s:
        """Mark rows as not logged yet; return those that were not marked already."""
        newly_dirty = np.empty(len(rows), np.int32)
        return newly_dirty[: _touch(self.rows, rows, newly_dirty)]

    def unlogged(self, rows: Int32s) -> Int32s:
        """Return those of `rows` that were touched since they were last logged."""
        unlogged: Int32s = rows[self.rows["dirty"][rows] & UNLOGGED != 0]
        return unlogged

    def logged(self, rows: Int32s) -> None:
        """Mark rows as logged."""
        self.rows["dirty"][rows] &= ~np.uint8(UNLOGGED)

    @property
    def clock(self) -> int | None:
        """None: there is no clock."""
        return None

    @property
    def published_persons(self) -> Int32s:
        """None: no compacted topic holds changes of persons."""
        return NO_ROWS

    def restored(self, clock: int | None = None) -> None:  # noqa: ARG002 (there is none)
        """End restoring: from now on every event counts."""
        self.stamps = _NO_STAMPS

    def rewind(self) -> None:
        """Do nothing: there is no clock."""

    def dump(self) -> StateColumns:
        """Return a copy of the columns, which `load` of the same version reads."""
        return {
            "heads": self.heads.copy(),
            "row_of": self.row_of.copy(),
            "rows": self.rows[: self.size].copy(),
        }

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Replace the rows by what `dump` returned, as of source offset `stamp`."""
        self.heads, self.row_of = columns["heads"].copy(), columns["row_of"].copy()
        # A snapshot has the field names of the version that wrote it: fields are read by position.
        self.rows = columns["rows"].view(self.rows.dtype)
        self.rows["dirty"] &= UNLOGGED  # what was not logged then is not logged now
        self.stamps = np.full(self.size, stamp, np.int64)

    def reserve(self, persons: int, rows: int) -> None:
        """Make room for `rows` more rows, and for `persons` persons in total."""
        known = len(self.row_of)
        self.row_of = grown(self.row_of, persons)
        self.row_of[known:] = NONE
        self.rows = grown(self.rows, self.size + rows)


@kernel
def mark_unlogged(rows: StructArray, row: Int, newly_dirty: Int32s, count: Int) -> Int:
    """Mark a row as not logged yet; if it was not marked already, write it to `newly_dirty`.

    `count` is how many rows `newly_dirty` holds. Returns how many it holds then.
    """
    if not rows[row].dirty & UNLOGGED:
        newly_dirty[count] = row
        count += 1
    rows[row].dirty = UNLOGGED
    return count


@kernel
def _touch(rows: StructArray, dirty: Int32s, newly_dirty: Int32s) -> Int:
    count = 0
    for i in range(len(dirty)):
        if i + FAR < len(dirty):
            prefetch(rows, dirty[i + FAR])
        count = mark_unlogged(rows, np.int64(dirty[i]), newly_dirty, count)
    return count
