"""One column of events for all rows: each row has a block of it, and blocks are reused.

A row's events are `tail[block : block + length]`. Blocks have 2, 4, 8 … places; a row whose block
is full moves to one of twice the size, and the old block goes to a list of free blocks of its size.

`heads[TAIL]` says how much of the column is used; `heads[FREE_BLOCKS + size_class]` is the first
free block of a size, whose `at` is the next one.
"""

from typing import Final, Protocol

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, StructArray, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.engine.constants import NONE

TAIL: Final = 3
FREE_BLOCKS: Final = 7
NO_BLOCK: Final = 255  # the size class of a row without events
_SMALLEST_BLOCK: Final = 2


class ArenaColumns(Protocol):
    """Rows with `block`, `length` and `size_class`, and their events, which have `at`."""

    @property
    def rows(self) -> StructArray:
        """The rows."""

    @property
    def tail(self) -> StructArray:
        """The events of all rows."""

    @property
    def heads(self) -> Int64s:
        """How much is used, and where the lists of free blocks begin."""

    @property
    def row_of(self) -> Int32s:
        """The row of each person, NONE if they have none."""


@kernel
def append(columns: ArenaColumns, row: Int, block: Int, length: Int) -> Int:
    """Make a row one event longer, whose fields are not set yet; return where its block begins.

    `block` and `length` are those of the row. The tail must have room for twice as many events as
    the row has, and two more.
    """
    rows = columns.rows
    if rows[row].size_class == NO_BLOCK or length == _SMALLEST_BLOCK << rows[row].size_class:
        block = _enlarge(columns, row)
    rows[row].length = length + 1
    return block


@kernel
def _enlarge(columns: ArenaColumns, row: Int) -> Int:
    """Move a row to a block of twice the size, or give it its first; return where that begins."""
    rows, tail, heads = columns.rows, columns.tail, columns.heads
    old, length = np.int64(rows[row].block), rows[row].length
    size_class = np.int64(0)
    if rows[row].size_class != NO_BLOCK:
        size_class = np.int64(rows[row].size_class) + 1
    free = heads[FREE_BLOCKS + size_class]
    if free != NONE:
        block = free
        heads[FREE_BLOCKS + size_class] = tail[free].at
    else:
        block = heads[TAIL]
        heads[TAIL] += _SMALLEST_BLOCK << size_class
    for i in range(length):
        tail[block + i] = tail[old + i]
    if size_class > 0:
        _free_block(columns, old, size_class - 1)
    rows[row].block = block
    rows[row].size_class = size_class
    return block


@kernel
def release(columns: ArenaColumns, row: Int) -> None:
    """Free a row's block, if it has one: the row has no events then."""
    rows = columns.rows
    if rows[row].size_class != NO_BLOCK:
        _free_block(columns, np.int64(rows[row].block), np.int64(rows[row].size_class))
    rows[row].length = 0
    rows[row].size_class = NO_BLOCK


@kernel
def _free_block(columns: ArenaColumns, block: Int, size_class: Int) -> None:
    """Put a block on the list of free blocks of its size."""
    columns.tail[block].at = columns.heads[FREE_BLOCKS + size_class]
    columns.heads[FREE_BLOCKS + size_class] = block


@kernel
def prefetch_ahead(columns: ArenaColumns, slots: Int32s, i: Int) -> None:
    """Prefetch the rows and events of the persons that a fold comes to some events after `i`."""
    if i + 2 * FAR < len(slots):
        prefetch(columns.row_of, slots[i + 2 * FAR])
    if i + FAR < len(slots):
        prefetch(columns.rows, columns.row_of[slots[i + FAR]])
    if i + NEAR < len(slots):
        row = columns.row_of[slots[i + NEAR]]
        if row != NONE:
            prefetch(columns.tail, columns.rows[row].block)
