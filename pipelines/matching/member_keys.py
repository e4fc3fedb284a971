"""Keys of JSON objects that are equal if some of their members are written the same."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, kernel
from pipelines.columnar.json_scan import NOT_PLAIN, find_members
from pipelines.columnar.memcpy import copy
from pipelines.columnar.string_column import StringColumn

# The state of a text: not scanned yet, plain JSON, or something else.
_NOT_SCANNED, _PLAIN, _OTHER = range(3)
# Bytes that are in no value as it is written: one ends a value, one begins the number of a row.
_END: Final = 0
_ROW: Final = 1


class MemberKeys:
    """The texts of a batch, and where in them the members of certain names are; scanned once."""

    def __init__(self, texts: StringColumn, names: StringColumn) -> None:
        count = len(texts.starts) - 1
        self._texts = texts
        self._names = names
        self._states = np.zeros(count, np.uint8)
        self._begins, self._sizes = np.empty((2, count, len(names.starts) - 1), np.int32)

    def keys(self, columns: NDArray[np.intp], rows: Int64s) -> StringColumn:
        """Return a key for each of `rows`: what the members in `columns` are written like.

        The key of a text that is not plain JSON is that of no other row.
        """
        states, begins, sizes = self._states, self._begins, self._sizes
        length = _scan(*self._texts, rows, *self._names, columns, states, begins, sizes)
        starts = np.zeros(len(rows) + 1, np.int32)
        data = np.empty(length, np.uint8)
        _write(self._texts.data, rows, columns, states, begins, sizes, starts, data)
        return StringColumn.locked(starts, data)


@kernel
def _scan(
    starts: Int32s,
    data: Bytes,
    rows: Int64s,
    name_starts: Int32s,
    names: Bytes,
    columns: Int64s,
    states: Bytes,
    begins: Int32s,
    sizes: Int32s,
) -> Int:
    """Scan the rows that were not scanned yet; return how many bytes the keys of all take."""
    length = np.int64(0)
    for row in rows:
        if states[row] == _NOT_SCANNED:
            begin, end = np.int64(starts[row]), np.int64(starts[row + 1])
            found = find_members(data, begin, end, name_starts, names, begins[row], sizes[row])
            states[row] = _OTHER if found == NOT_PLAIN else _PLAIN
        if states[row] == _OTHER:
            length += 9
        else:
            for column in columns:
                length += max(sizes[row, column], 0) + 1
    return length


@kernel
def _write(
    data: Bytes,
    rows: Int64s,
    columns: Int64s,
    states: Bytes,
    begins: Int32s,
    sizes: Int32s,
    out_starts: Int32s,
    out: Bytes,
) -> None:
    p = np.int64(0)
    for i in range(len(rows)):
        row = rows[i]
        if states[row] == _OTHER:
            out[p] = _ROW
            for byte in range(8):
                out[p + 1 + byte] = (row >> (8 * byte)) & 255
            p += 9
        else:
            for column in columns:
                size = np.int64(max(sizes[row, column], 0))
                p = copy(out, p, data, np.int64(begins[row, column]), size)
                out[p] = _END
                p += 1
        out_starts[i + 1] = p
