"""What an event leaves behind in a person's cells."""

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int, Int64s, Struct, kernel
from pipelines.operators.segment.columns import HOLDS, UNSET
from pipelines.operators.segment.program import (
    COMPLETED,
    COUNT,
    EARLIEST,
    PROPERTY_SET,
    PROPERTY_SET_ONCE,
)


@kernel
def record(
    register: Struct,
    cells: Int64s,
    at: Int,
    mask: Int,
    verdicts: NDArray[np.uint8],
    completed: Int,
) -> Int:
    """Record one event in the cells of one register; return whether they changed."""
    kind, source, c = register.kind, register.source, register.cell
    if kind == COMPLETED:
        if (np.int64(completed) >> source) & 1 == 0 or cells[c] == 1:
            return False
        cells[c] = 1
        return True
    if kind in (PROPERTY_SET, PROPERTY_SET_ONCE):
        # At equal times, the last event counts for `$set`, and the first for `$set_once`.
        newer = at >= cells[c] if kind == PROPERTY_SET else at < cells[c]
        if verdicts[source] == UNSET or not newer:
            return False
        cells[c] = at
        cells[c + 1] = verdicts[source] == HOLDS
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
    return _insert(cells, np.int64(c), np.int64(register.size), at)


@kernel
def _insert(cells: Int64s, first: Int, size: Int, at: Int) -> Int:
    """Insert a time among the latest ones, newest first; return whether it is one of them."""
    place = first + size
    while place > first and cells[place - 1] < at:
        place -= 1
    if place == first + size:
        return False
    for c in range(first + size - 1, place, -1):
        cells[c] = cells[c - 1]
    cells[place] = at
    return True
