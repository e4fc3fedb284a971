"""Compare two states of a definition as they would be logged."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columnar.jit import Int32s
from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.constants import NONE
from pipelines.engine.operator import NO_ROWS, C, Packed, PersonState

_COMPARED_BATCH: Final = 20_000  # rows


def differing_rows(before: PersonState[C], after: PersonState[C]) -> Int32s:
    """Return the rows of `after` that would be logged otherwise than those of `before`."""
    differ = [NO_ROWS]
    for begin in range(0, after.size, _COMPARED_BATCH):
        rows = np.arange(begin, min(begin + _COMPARED_BATCH, after.size), dtype=np.int32)
        old = before.rows_of(after.persons_of(rows))
        known = old != NONE
        differ.append(rows[~known])
        rows = rows[known]
        packed, packed_before = after.pack(rows, 0), before.pack(old[known], 0)
        if len(rows):
            alike: ArrowColumn = pc.equal(_column(packed), _column(packed_before))
            differ.append(rows[~alike.to_numpy(zero_copy_only=False)])
    return np.concatenate(differ)


def _column(packed: Packed) -> ArrowColumn:
    """View rows, which follow one another, as an Arrow column."""
    bounds = np.append(packed.begins, packed.ends[-1:])
    columns: list[Any] = [bounds, packed.data]  # to pyarrow's stubs, arrays are no buffers
    buffers = [None, *map(pa.py_buffer, columns)]
    return pa.Array.from_buffers(pa.large_binary(), len(packed), buffers)
