"""The state of one cohort definition in one partition: the columns that `cohort_fold` works on."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines import cohort_fold as cf
from pipelines.cohort_fold import CHANGE, ROW, Shape
from pipelines.kernel import Int32s, Int64s
from pipelines.keys import grown
from pipelines.operators import Expired, Folded, Masks, Packed
from pipelines.person_rows import PersonRows
from schemas.calendar import Calendar, calendar

_LAYOUT: Final = 1


class CohortState(PersonRows):
    """One cohort definition, one partition. A person is a slot of the partition's key index."""

    def __init__(self, periods: int, of: Calendar, lateness_ms: int) -> None:
        super().__init__(ROW, cf.HEADS)
        self._calendar = of
        self._lateness_ms = lateness_ms
        reach = max(periods, of.most_in(lateness_ms))  # a start may move back by the lateness
        self.shape = Shape(periods, -(-reach // 64))
        self.bits = np.zeros((64, self.shape.words), np.uint64)
        self._changes = np.zeros(max(256, 8 * (1 + periods)), CHANGE)
        self._packed = np.dtype(
            [
                ("layout", "u1"),
                ("stamp", "<i8"),
                ("first", "<i4"),
                ("last", "<i4"),
                ("base", "<i4"),
                ("horizon", "<i4"),
                ("bits", "<u8", (self.shape.words,)),
            ]
        )

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        held = (self.row_of, self.rows, self.bits, self._changes)
        return sum(array.nbytes for array in held)

    def fold(
        self, persons: int, slots: Int32s, at: Int64s, masks: Masks, offsets: Int64s
    ) -> Folded:
        """Fold events in order of arrival; see `PersonState.fold`."""
        self.reserve(persons, len(at))
        periods = self._calendar.periods(at)
        horizons = self._calendar.periods(at - self._lateness_ms)
        self.heads[cf.CHANGES] = self.heads[cf.LATE] = self.heads[cf.TOUCHED] = 0
        touched = np.empty(len(at), np.int32)
        done = 0
        while True:
            done = cf.fold(
                self.shape,
                self.rows,
                self.bits,
                self._changes,
                self.heads,
                self.row_of,
                touched,
                slots,
                periods,
                horizons,
                masks,
                offsets,
                self.stamps,
                done,
            )
            if done == len(at):
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        touched = touched[: self.heads[cf.TOUCHED]]
        fresh = touched[self.rows["touched"][touched] & 2 == 0]
        self.rows["touched"][touched] = 2
        changes = self._changes[: self.heads[cf.CHANGES]]
        return Folded(changes, fresh, int(self.heads[cf.LATE]))

    def expire(self, now: int) -> Expired | None:  # noqa: ARG002 (time alone changes no cohort)
        """Nothing: who does not come back is in no figure."""
        return None

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""
        packed = np.zeros(len(rows), self._packed)
        packed["layout"], packed["stamp"] = _LAYOUT, stamp
        for name in ("first", "last", "base", "horizon"):
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
        self.heads[cf.ROWS] += len(new)
        self.stamps = grown(self.stamps, len(self.rows))
        rows = self.row_of[slots]
        for name in ("first", "last", "base", "horizon"):
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

    @classmethod
    def warm_up(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        state = cls(1, calendar("month", "UTC"), 0)
        one = np.zeros(1, np.int64)
        both = np.full(1, cf.STARTS | cf.RETURNS, np.uint32)
        state.fold(1, np.zeros(1, np.int32), one, both, one)

    def reserve(self, persons: int, rows: int) -> None:
        """Make room for `rows` more of them, and for `persons` in all."""
        super().reserve(persons, rows)
        self.bits = grown(self.bits, len(self.rows))
