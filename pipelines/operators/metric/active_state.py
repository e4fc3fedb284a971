"""The state of one metric of persons in one partition."""

from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.constants import NEVER
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import ChangeRecords, FoldResult
from pipelines.engine.row_kernels import CHANGES, COUNTERS, DIRTY, LATE
from pipelines.matching.match import Masks, Values
from pipelines.operators.metric.active_columns import (
    CHANGE,
    HEADS,
    ROW,
    ActiveColumns,
    ActiveEvents,
)
from pipelines.operators.metric.active_kernel import fold
from schemas.operators.metric import DAY_S, MAX_LATE_BUCKETS, WINDOWS
from schemas.time.buckets import Buckets

_LOGGED: Final = ("base", "watermark", "last_active")


class ActiveState(FixedRows):
    """When persons were active.

    `newest` is the time (ms) of the newest event, `NEVER` before the first. The lateness is limited
    to `MAX_LATE_BUCKETS`. The changes of a fold are of type `CHANGE`, valid until the next fold.
    """

    def __init__(self, bucket_s: int, timezone: str, lateness_ms: int) -> None:
        self._windows = np.array(WINDOWS[bucket_s], np.int64)
        self._buckets = Buckets(bucket_s, timezone)
        self.lateness_ms = min(lateness_ms, 1_000 * bucket_s * MAX_LATE_BUCKETS)
        reach = int(self._windows[-1]) + self._buckets.max_count(self.lateness_ms)
        super().__init__(ROW, HEADS, _LOGGED, -(-reach // 64), np.uint64)
        self.newest = NEVER
        self._changes = np.zeros(256, CHANGE)
        self._counters = np.zeros(COUNTERS, np.int64)

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,  # noqa: ARG002 (there is one selector)
        offsets: Int64s,
        values: Values = (),  # noqa: ARG002 (it reads no property)
    ) -> FoldResult[ChangeRecords]:
        """Fold events in order of arrival; see `PersonState.fold`."""
        events = ActiveEvents(
            slots,
            offsets,
            self._buckets.numbers(at),
            self._buckets.numbers(at - self.lateness_ms),
            at // 1_000,
        )
        self.reserve(persons, len(at))
        self._changes = grown(self._changes, len(at) * (len(self._windows) + 1))
        self._counters[:] = 0
        dirty = np.empty(len(at), np.int32)
        fold(self._windows, self._columns(dirty), events)
        self.newest = max(self.newest, int(at.max()))
        newly_dirty = self.touch(dirty[: self._counters[DIRTY]])
        changes = self._changes[: self._counters[CHANGES]]
        return FoldResult(changes, newly_dirty, int(self._counters[LATE]))

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        state = cls(DAY_S, "UTC", 0)
        at = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), at, np.ones(1, np.uint32), at)

    def _columns(self, dirty: Int32s) -> ActiveColumns:
        return ActiveColumns(
            self.rows,
            self.words,
            self._changes,
            self.heads,
            self._counters,
            self.row_of,
            self.stamps,
            dirty,
        )


register_example(ActiveState.precompile)
