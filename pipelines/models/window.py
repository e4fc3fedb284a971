"""The newest examples, with what is needed of each."""

from typing import Final

import numpy as np

from pipelines.models.arrays import Float64s


class Window:
    """Columns of the newest `size` examples. Memory is that of `size` examples from the start."""

    def __init__(self, size: int, columns: int) -> None:
        self.size: Final = size
        self._rows = np.zeros((columns, size))
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.size)

    def add(self, *columns: Float64s) -> None:
        """Add examples, in order: an array of the same length for each column."""
        count = len(columns[0])
        kept = min(count, self.size)
        places = (self._added + count - kept + np.arange(kept)) % self.size
        for row, column in zip(self._rows, columns, strict=True):
            row[places] = column[count - kept :]
        self._added += count

    def columns(self) -> tuple[Float64s, ...]:
        """Return a copy of each column, the oldest example first."""
        if self._added <= self.size:
            return tuple(row[: self._added].copy() for row in self._rows)
        return tuple(np.roll(row, -(self._added % self.size)) for row in self._rows)
