"""Rows of persons of one size, with 64-bit words beside each, and how they are logged."""

from typing import Any, Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s
from pipelines.engine.operator import Expired, Packed, StateColumn, StateColumns
from pipelines.engine.rows import PersonRows

_LAYOUT: Final = 1


class FixedRows(PersonRows):
    """Rows of a type as for `PersonRows`, and beside each `words` numbers of type `of`.

    The fields named by `logged` are logged, and the words.
    """

    def __init__(
        self,
        row: np.dtype[np.void],
        heads: int,
        logged: tuple[str, ...],
        words: int,
        of: type[np.int64 | np.uint64 | np.float64],
    ) -> None:
        super().__init__(row, heads)
        self.words: StateColumn = np.zeros((64, words), of)
        self._logged = logged
        self._packed = np.dtype(
            [
                ("layout", "u1"),
                ("stamp", "<i8"),
                *((name, row[name]) for name in logged),
                ("words", np.dtype(of), (words,)),
            ]
        )

    @property
    def nbytes(self) -> int:
        """Memory that the rows hold in bytes, the spare room of growing columns included."""
        return self.row_of.nbytes + self.rows.nbytes + int(self.words.nbytes)

    def expire(self, now: int) -> Expired[Any] | None:
        """Do nothing: time alone changes no row."""

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """Encode rows for the changelog, as holding all events below source offset `stamp`."""
        packed = np.zeros(len(rows), self._packed)
        packed["layout"], packed["stamp"] = _LAYOUT, stamp
        for name in self._logged:
            packed[name] = self.rows[name][rows]
        packed["words"] = self.words[rows]
        self.logged(rows)
        begins = np.arange(len(rows), dtype=np.int64) * self._packed.itemsize
        return Packed(packed.view(np.uint8).ravel(), begins, begins + self._packed.itemsize)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of some persons by what was logged of them.

        Raises:
            ValueError: a row has a layout that this version does not know.
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
        self.rows["slot"][rows], self.rows["dirty"][rows] = slots, 0
        self.words[rows], self.stamps[rows] = logged["words"], logged["stamp"]

    def dump(self) -> StateColumns:
        """Return a copy of the columns, which `load` of the same version reads."""
        return super().dump() | {"words": self.words[: self.size].copy()}

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Replace the rows by what `dump` returned, as of source offset `stamp`."""
        super().load(columns, stamp)
        self.words = columns["words"]

    def reserve(self, persons: int, rows: int) -> None:
        """Make room for `rows` more rows, and for `persons` persons in total."""
        super().reserve(persons, rows)
        self.words = grown(self.words, len(self.rows))
