"""The state of one cohort in one partition."""

from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import FoldResult
from pipelines.engine.row_kernels import CHANGES, COUNTERS, DIRTY, LATE
from pipelines.matching.match import Masks, Values, value_hashes
from pipelines.matching.value_hash import ValueHashes
from pipelines.operators.cohort.columns import (
    CHANGE,
    HEADS,
    RETURNS,
    ROW,
    STARTS,
    CohortColumns,
    CohortEvents,
    Shape,
)
from pipelines.operators.cohort.kernel import fold
from schemas.time.calendar import Calendar, calendar

_LOGGED: Final = ("first", "last", "base", "watermark")


class CohortState(FixedRows):
    """When persons began, and when they came back.

    The bits of an event's mask are STARTS and RETURNS; `values` is what the cohort is broken down
    by, if it is. The records of a fold's changes are of type `CHANGE`, valid until the next fold.
    """

    def __init__(
        self, periods: int, of: Calendar, lateness_ms: int, *, broken_down: bool = False
    ) -> None:
        reach = max(periods, of.max_count(lateness_ms))  # a start may move back by the lateness
        self.shape = Shape(periods, -(-reach // 64), broken_down)
        beside = 2 if broken_down else 0
        super().__init__(ROW, HEADS, _LOGGED, self.shape.words + beside, np.uint64)
        self._calendar = of
        self._lateness_ms = lateness_ms
        self._changes = np.zeros(max(256, 8 * (1 + periods)), CHANGE)
        self._counters = np.zeros(COUNTERS, np.int64)

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult[ValuedChanges]:
        """Fold events in order of arrival; see `PersonState.fold`."""
        hashes = value_hashes(values[0]) if self.shape.broken_down else ValueHashes.none(len(at))
        periods = self._calendar.periods(at)
        watermarks = self._calendar.periods(at - self._lateness_ms)
        events = CohortEvents(slots, at, masks, offsets, periods, watermarks, hashes.numbers)
        self.reserve(persons, len(at))
        self._counters[:] = 0
        dirty = np.empty(len(at), np.int32)
        done = 0
        while True:
            done = fold(self.shape, self._columns(dirty), events, done)
            if done == len(at):
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        newly_dirty = self.touch(dirty[: self._counters[DIRTY]])
        changes = ValuedChanges(self._changes[: self._counters[CHANGES]], hashes.tokens_by_number())
        return FoldResult(changes, newly_dirty, int(self._counters[LATE]))

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        state = cls(1, calendar("month", "UTC"), 0)
        at = np.zeros(1, np.int64)
        both = np.full(1, STARTS | RETURNS, np.uint32)
        state.fold(1, np.zeros(1, np.int32), at, both, at)

    def _columns(self, dirty: Int32s) -> CohortColumns:
        return CohortColumns(
            self.rows,
            self.words,
            self._changes,
            self.heads,
            self._counters,
            self.row_of,
            self.stamps,
            dirty,
        )


register_example(CohortState.precompile)
