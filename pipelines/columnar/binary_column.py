"""A column of byte strings, any of which may be missing, in one block of memory."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int32s


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

    def first(self, count: int) -> Self:
        """Return the first strings; copies nothing."""
        return self._replace(starts=self.starts[: count + 1], nulls=self.nulls[:count])

    def at(self, row: int) -> bytes | None:
        """Return one string."""
        if self.nulls[row]:
            return None
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()

    def to_list(self) -> list[bytes | None]:
        """Return all strings, each as an object."""
        starts = self.starts.tolist()
        whole = self.data[: starts[-1]].tobytes()
        strings: list[bytes | None] = [whole[begin:end] for begin, end in pairwise(starts)]
        for row in np.flatnonzero(self.nulls).tolist():
            strings[row] = None
        return strings
