"""Rows of persons: the columns that every operator's state has, whatever else a row holds.

A row is made when a person first does what the definition looks at. Columns grow by half when they
are full, so that there is no capacity to choose.
"""

from typing import Any, ClassVar, Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import FAR, prefetch
from pipelines.engine.operator import NO_ROWS, StateColumn, StateColumns

NONE: Final = -1
# Of a row's `dirty`:
IN_BATCH: Final = 1
UNLOGGED: Final = 2  # touched since it was last logged

_NO_STAMPS: Final = np.empty(0, np.int64)


class PersonRows:
    """Rows of a type that has `slot` (int32, the person) and `dirty` (uint8).

    `heads[0]` tells how many rows are used. `stamps`, which there are only while a partition is
    being restored, are the source offsets below which events are in a row already.
    """

    by_person: ClassVar[bool] = True

    def __init__(self, row: np.dtype[Any], heads: int) -> None:
        self.heads = np.zeros(heads, np.int64)
        self.row_of = np.empty(0, np.int32)
        self.rows: StateColumn = np.zeros(64, row)
        self.stamps: Int64s = _NO_STAMPS

    @property
    def size(self) -> int:
        """Rows: persons who ever did something that the definition looks at."""
        return int(self.heads[0])

    def rows_of(self, persons: Int32s) -> Int32s:
        """The rows of some persons, `NONE` for those who have none."""
        known = persons < len(self.row_of)
        rows = np.full(len(persons), NONE, np.int32)
        rows[known] = self.row_of[persons[known]]
        return rows

    def persons_of(self, rows: Int32s) -> Int32s:
        """The persons of some rows."""
        persons: Int32s = self.rows["slot"][rows]
        return persons

    def touch(self, rows: Int32s) -> Int32s:
        """Mark rows as not logged yet; returns those that were not so marked already."""
        newly_dirty = np.empty(len(rows), np.int32)
        return newly_dirty[: _touch(self.rows, rows, newly_dirty)]

    def unlogged(self, rows: Int32s) -> Int32s:
        """Those of `rows` that were touched since they were last logged."""
        unlogged: Int32s = rows[self.rows["dirty"][rows] & UNLOGGED != 0]
        return unlogged

    def logged(self, rows: Int32s) -> None:
        """Mark rows as logged as they are."""
        self.rows["dirty"][rows] &= ~np.uint8(UNLOGGED)

    @property
    def clock(self) -> int | None:
        """None: it has no clock of its own."""
        return None

    @property
    def published_persons(self) -> Int32s:
        """None: no topic keeps the newest change of each person."""
        return NO_ROWS

    def restored(self, clock: int | None = None) -> None:  # noqa: ARG002 (it has none)
        """The state is complete: from here on every event counts."""
        self.stamps = _NO_STAMPS

    def dump(self) -> StateColumns:
        """A copy of the columns, to be loaded by the same version of this code."""
        return {
            "heads": self.heads.copy(),
            "row_of": self.row_of.copy(),
            "rows": self.rows[: self.size].copy(),
        }

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        self.heads, self.row_of = columns["heads"].copy(), columns["row_of"].copy()
        # Snapshots keep the names that fields had when they were written: fields go by place.
        self.rows = columns["rows"].view(self.rows.dtype)
        self.rows["dirty"] &= UNLOGGED  # what was not logged then is still to be logged
        self.stamps = np.full(self.size, stamp, np.int64)

    def reserve(self, persons: int, rows: int) -> None:
        """Make room for `rows` more of them, and for `persons` in all."""
        known = len(self.row_of)
        self.row_of = grown(self.row_of, persons)
        self.row_of[known:] = NONE
        self.rows = grown(self.rows, self.size + rows)


@kernel
def note(rows: Any, r: Int, newly_dirty: Int32s, count: Int) -> Int:
    """Mark a row as not logged yet; if it was not so marked already, it is the `count`-th fresh."""
    if not rows[r].dirty & UNLOGGED:
        newly_dirty[count] = r
        count += 1
    rows[r].dirty = UNLOGGED
    return count


@kernel
def _touch(rows: Any, dirty: Int32s, newly_dirty: Int32s) -> Int:
    count = 0
    for i in range(len(dirty)):
        if i + FAR < len(dirty):
            prefetch(rows, dirty[i + FAR])
        count = note(rows, np.int64(dirty[i]), newly_dirty, count)
    return count
