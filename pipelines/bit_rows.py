"""Rows of persons of one size, with bits beside them: how they are logged."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel import Int32s
from pipelines.keys import grown
from pipelines.operators import Packed
from pipelines.person_rows import PersonRows

_LAYOUT: Final = 1
_NOT_LOGGED: Final = ("slot", "touched")


class BitRows(PersonRows):
    """Rows of a type as for `PersonRows`, and `words` of 64 bits of each.

    `heads[0]` tells how many rows are used.
    """

    def __init__(self, row: np.dtype[Any], heads: int, words: int) -> None:
        super().__init__(row, heads)
        self.bits = np.zeros((64, words), np.uint64)
        self._logged = [name for name in row.names or () if name not in _NOT_LOGGED]
        self._packed = np.dtype(
            [
                ("layout", "u1"),
                ("stamp", "<i8"),
                *((name, row[name]) for name in self._logged),
                ("bits", "<u8", (words,)),
            ]
        )

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""
        packed = np.zeros(len(rows), self._packed)
        packed["layout"], packed["stamp"] = _LAYOUT, stamp
        for name in self._logged:
            packed[name] = self.rows[name][rows]
        packed["bits"] = self.bits[rows]
        self.rows["touched"][rows] &= 1
        begins = np.arange(len(rows), dtype=np.int64) * self._packed.itemsize
        return Packed(packed.view(np.uint8).ravel(), begins, begins + self._packed.itemsize)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Put logged rows in the place of what is known of their persons.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        self.reserve(persons, len(slots))
        size = self._packed.itemsize
        if not (packed.ends - packed.begins == size).all():
            raise ValueError(f"a row of the state was not packed by layout {_LAYOUT}")
        data = packed.data[packed.begins[:, None] + np.arange(size)]
        logged = np.ascontiguousarray(data).view(self._packed).ravel()
        if not (logged["layout"] == _LAYOUT).all():
            raise ValueError(f"a row of the state was not packed by layout {_LAYOUT}")
        new = np.flatnonzero(self.row_of[slots] < 0)
        self.row_of[slots[new]] = np.arange(self.size, self.size + len(new), dtype=np.int32)
        self.heads[0] += len(new)
        self.stamps = grown(self.stamps, len(self.rows))
        rows = self.row_of[slots]
        for name in self._logged:
            self.rows[name][rows] = logged[name]
        self.rows["slot"][rows], self.rows["touched"][rows] = slots, 0
        self.bits[rows], self.stamps[rows] = logged["bits"], logged["stamp"]

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns, to be loaded by the same version of this code."""
        return super().dump() | {"bits": self.bits[: self.size].copy()}

    def load(self, columns: dict[str, NDArray[Any]], stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        self.bits = columns["bits"]

    def reserve(self, persons: int, rows: int) -> None:
        """Make room for `rows` more of them, and for `persons` in all."""
        super().reserve(persons, rows)
        self.bits = grown(self.bits, len(self.rows))
