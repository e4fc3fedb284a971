"""The state of one cohort definition in one partition: the columns that `cohort_fold` works on."""

from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import Expired, FoldResult, Masks, Values
from pipelines.matching.value_hash import ValueHashes
from pipelines.operators.cohort import kernel as cf
from pipelines.operators.cohort.kernel import CHANGE, ROW, Shape
from schemas.time.calendar import Calendar, calendar

_LOGGED: Final = ("first", "last", "base", "watermark")


class CohortState(FixedRows):
    """One cohort definition, one partition. A person is a slot of the partition's key index."""

    def __init__(
        self, periods: int, of: Calendar, lateness_ms: int, *, broken_down: bool = False
    ) -> None:
        reach = max(periods, of.max_count(lateness_ms))  # a start may move back by the lateness
        self.shape = Shape(periods, -(-reach // 64), broken_down)
        beside = 2 if broken_down else 0
        super().__init__(ROW, cf.HEADS, _LOGGED, self.shape.words + beside, np.uint64)
        self._calendar = of
        self._lateness_ms = lateness_ms
        self._changes = np.zeros(max(256, 8 * (1 + periods)), CHANGE)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        held = (self.row_of, self.rows, self.words, self._changes)
        return sum(array.nbytes for array in held)

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult:
        """Fold events in order of arrival; see `PersonState.fold`."""
        of = values[0] if self.shape.broken_down else ValueHashes.none(len(at))
        self.reserve(persons, len(at))
        periods = self._calendar.periods(at)
        horizons = self._calendar.periods(at - self._lateness_ms)
        self.heads[cf.CHANGES] = self.heads[cf.LATE] = self.heads[cf.TOUCHED] = 0
        dirty = np.empty(len(at), np.int32)
        done = 0
        while True:
            done = cf.fold(
                self.shape,
                self.rows,
                self.words,
                self._changes,
                self.heads,
                self.row_of,
                dirty,
                slots,
                at,
                periods,
                horizons,
                masks,
                of.numbers,
                offsets,
                self.stamps,
                done,
            )
            if done == len(at):
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        dirty = dirty[: self.heads[cf.TOUCHED]]
        newly_dirty = self.touch(dirty)
        changes = ValuedChanges(self._changes[: self.heads[cf.CHANGES]], of.told())
        return FoldResult(changes, newly_dirty, int(self.heads[cf.LATE]))

    def expire(self, now: int) -> Expired | None:  # noqa: ARG002 (time alone changes no cohort)
        """Nothing: who does not come back is in no figure."""
        return None

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        state = cls(1, calendar("month", "UTC"), 0)
        one = np.zeros(1, np.int64)
        both = np.full(1, cf.STARTS | cf.RETURNS, np.uint32)
        state.fold(1, np.zeros(1, np.int32), one, both, one)
