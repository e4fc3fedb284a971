"""A state without rows, for operators that count events whatever persons they are of.

All that they count is in their aggregates, which are published in the same transaction as the
offsets: there is nothing to log, and nothing to process again after a restart.
"""

from typing import ClassVar, Final

import numpy as np

from pipelines.columnar.jit import Int32s
from pipelines.engine.constants import NONE
from pipelines.engine.operator import NO_ROWS, Packed, StateColumns

_NO_OFFSETS: Final = np.empty(0, np.int64)


class Stateless:
    """A `PersonState` without rows; subclasses add `fold`."""

    by_person: ClassVar[bool] = False
    size: ClassVar[int] = 0
    nbytes: ClassVar[int] = 0
    clock: ClassVar[int | None] = None
    published_persons: ClassVar[Int32s] = NO_ROWS

    def expire(self, now: int) -> None:
        """Do nothing: no timers are set."""

    def pack(self, rows: Int32s, stamp: int) -> Packed:  # noqa: ARG002 (no rows)
        """Return no rows."""
        assert not len(rows)
        return Packed(np.empty(0, np.uint8), _NO_OFFSETS, _NO_OFFSETS)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Do nothing: the log holds no rows."""

    def restored(self, clock: int | None = None) -> None:
        """Do nothing."""

    def rewind(self) -> None:
        """Do nothing: there is no clock."""

    def unlogged(self, rows: Int32s) -> Int32s:  # noqa: ARG002 (no rows)
        """Return no rows."""
        return NO_ROWS

    def rows_of(self, persons: Int32s) -> Int32s:
        """Return -1 for each person."""
        return np.full(len(persons), NONE, np.int32)

    def persons_of(self, rows: Int32s) -> Int32s:  # noqa: ARG002 (no rows)
        """Return no persons."""
        return NO_ROWS

    def dump(self) -> StateColumns:
        """Return no columns."""
        return {}

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Do nothing."""
