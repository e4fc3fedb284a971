"""A column of strings as kernels read it: the bytes of all strings, and where each one begins."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Bytes, Int32s, Int64s

ArrowColumn: TypeAlias = Any  # an Arrow array: pyarrow's stubs type every value as nullable


class StringColumn(NamedTuple):
    """String i is `data[starts[i]:starts[i + 1]]`. Both arrays are read-only."""

    starts: Int32s
    data: Bytes

    @classmethod
    def of(cls, column: ArrowColumn) -> "StringColumn":
        """View an Arrow string or binary array without nulls; copies nothing."""
        _, offsets, data = column.buffers()
        starts = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4)
        return cls.locked(starts, np.frombuffer(data or b"", np.uint8))

    @classmethod
    def empty(cls, count: int) -> "StringColumn":
        """Return `count` empty strings, as second parts for an index of single names."""
        return cls.locked(np.zeros(count + 1, np.int32), np.empty(0, np.uint8))

    @classmethod
    def locked(cls, starts: Int32s, data: Bytes) -> "StringColumn":
        """View these arrays; copies nothing."""
        # Numba compiles a kernel once for writable arrays and once for read-only ones: always the
        # latter here.
        column = cls(starts.view(), data.view())
        for array in column:
            array.flags.writeable = False
        return column

    def take(self, rows: Int64s) -> list[str]:
        """Return some of the strings."""
        columns: list[Any] = [self.starts, self.data]  # no buffers to the stubs
        buffers = [None, *map(pa.py_buffer, columns)]
        strings: ArrowColumn = pa.Array.from_buffers(pa.string(), len(self.starts) - 1, buffers)
        taken: list[str] = strings.take(rows).to_pylist()
        return taken
