"""A column of strings as kernels read it: one run of bytes, and where each string begins."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Bytes, Int32s, Int64s

ArrowColumn: TypeAlias = Any  # an Arrow array; its stubs take every value to be nullable


class StringColumn(NamedTuple):
    """A column of texts as kernels read it: text i is `data[starts[i]:starts[i + 1]]`."""

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
        """As many empty texts: an index of single names has them for second ones."""
        return cls.locked(np.zeros(count + 1, np.int32), np.empty(0, np.uint8))

    @classmethod
    def locked(cls, starts: Int32s, data: Bytes) -> "StringColumn":
        """View these; copies nothing."""
        # Kernels are compiled for what may be written to and what may not: here, never.
        texts = cls(starts.view(), data.view())
        for array in texts:
            array.flags.writeable = False
        return texts

    def take(self, rows: Int64s) -> list[str]:
        """Some of the texts."""
        columns: list[Any] = [self.starts, self.data]
        buffers = [None, *map(pa.py_buffer, columns)]
        texts: ArrowColumn = pa.Array.from_buffers(pa.string(), len(self.starts) - 1, buffers)
        taken: list[str] = texts.take(rows).to_pylist()
        return taken
