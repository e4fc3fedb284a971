"""A column of byte strings, any of which may be missing, in one block of memory."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Bools, Bytes, Int32s
from pipelines.columnar.string_column import ArrowColumn


class BinaryColumn(NamedTuple):
    """String i is `data[starts[i]:starts[i + 1]]`, or missing where `nulls[i]`: then it is empty.

    The arrays belong to the column and are never written to again.
    """

    starts: Int32s
    data: Bytes
    nulls: Bools

    @classmethod
    def of(cls, strings: Sequence[bytes | None]) -> Self:
        """Copy the strings, which must have less than 2 GiB together."""
        starts = np.zeros(len(strings) + 1, np.int32)
        np.cumsum([len(string or b"") for string in strings], out=starts[1:])
        data = np.frombuffer(b"".join(filter(None, strings)), np.uint8)
        nulls = np.fromiter((string is None for string in strings), np.bool_, len(strings))
        return cls(starts, data, nulls)

    def locked(self) -> Self:
        """Return read-only views of the arrays, so that kernels are compiled for these alone."""
        column = type(self)(self.starts.view(), self.data.view(), self.nulls.view())
        for array in column:
            array.flags.writeable = False
        return column

    def first(self, count: int) -> Self:
        """Return the first strings; copies nothing."""
        return self._replace(starts=self.starts[: count + 1], nulls=self.nulls[:count])

    def at(self, row: int) -> bytes | None:
        """Return one string."""
        if self.nulls[row]:
            return None
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()

    def to_arrow(self) -> ArrowColumn:
        """View the column as an Arrow binary array; copies nothing."""
        nulls = int(np.count_nonzero(self.nulls))
        validity = np.packbits(~self.nulls, bitorder="little") if nulls else None
        arrays: list[Any] = [validity, self.starts, self.data]  # no buffers to the stubs
        buffers = [None if array is None else pa.py_buffer(array) for array in arrays]
        return pa.Array.from_buffers(pa.binary(), len(self.nulls), buffers, nulls)

    def to_list(self) -> list[bytes | None]:
        """Return all strings, each as an object."""
        strings: list[bytes | None] = self.to_arrow().to_pylist()
        return strings
