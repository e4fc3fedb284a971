"""A state without rows: of an operator that counts events, whoever's they are.

What it counts stands in its figures alone, which are published in the same transaction as the
offsets: so there is nothing to log, and nothing to be folded again.
"""

from typing import ClassVar

import numpy as np

from pipelines.columnar.jit import Int32s
from pipelines.engine.operator import NO_ROWS, Packed, StateColumns

_NO_OFFSETS = np.empty(0, np.int64)


class Stateless:
    """All of a `PersonState` but its `fold`."""

    by_person: ClassVar[bool] = False
    size: ClassVar[int] = 0
    nbytes: ClassVar[int] = 0
    clock: ClassVar[int | None] = None
    published_persons: ClassVar[Int32s] = NO_ROWS

    def expire(self, now: int) -> None:
        """Nothing."""

    def pack(self, rows: Int32s, stamp: int) -> Packed:  # noqa: ARG002 (no rows)
        """Nothing, of no rows."""
        assert not len(rows)
        return Packed(np.empty(0, np.uint8), _NO_OFFSETS, _NO_OFFSETS)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Nothing: there is nothing of it in the log."""

    def restored(self, clock: int | None = None) -> None:
        """Nothing."""

    def unlogged(self, rows: Int32s) -> Int32s:  # noqa: ARG002 (no rows)
        """None."""
        return NO_ROWS

    def rows_of(self, persons: Int32s) -> Int32s:
        """-1 for all."""
        return np.full(len(persons), -1, np.int32)

    def persons_of(self, rows: Int32s) -> Int32s:  # noqa: ARG002 (no rows)
        """None."""
        return NO_ROWS

    def dump(self) -> StateColumns:
        """Nothing."""
        return {}

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Nothing."""
