"""The state of one metric of persons in one partition."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NEVER
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import FoldResult
from pipelines.engine.row_kernels import CHANGES, COUNTERS, DIRTY, LATE
from pipelines.matching.match import Masks, Values, value_hashes
from pipelines.matching.value_hash import ValueHashes
from pipelines.operators.metric.active_columns import (
    CHANGE,
    HEADS,
    ROW,
    ActiveColumns,
    ActiveEvents,
    ActiveShape,
)
from pipelines.operators.metric.active_kernel import fold
from schemas.operators.metric import MAX_LATE_BUCKETS, WINDOWS
from schemas.time.buckets import DAY_S, Buckets

_LOGGED: Final = ("base", "watermark", "last_active")
# How many changes an event makes of each window, but for the one of its time.
_CHANGES, _CHANGES_BY_VALUE = 1, 3


class ActiveState(FixedRows):
    """When persons were active.

    `windows` are lengths in buckets, the longest last. `newest` is the time (ms) of the newest
    event, `NEVER` before the first. The lateness is limited to `MAX_LATE_BUCKETS`. With a
    breakdown, `values` of a fold are its hashes, and a row takes 16 bytes more for each bucket
    within the longest window and the lateness. The records of a fold's changes are of type
    `CHANGE`, valid until the next fold.
    """

    def __init__(
        self,
        windows: Sequence[int],
        buckets: Buckets,
        lateness_ms: int,
        *,
        broken_down: bool = False,
    ) -> None:
        self._buckets = buckets
        self.lateness_ms = min(lateness_ms, buckets.most_ms * MAX_LATE_BUCKETS)
        reach = windows[-1] + buckets.max_count(self.lateness_ms)
        self._shape = ActiveShape(
            np.array(windows, np.int64), -(-reach // 64), reach if broken_down else 0
        )
        words = self._shape.words + 2 * self._shape.places
        super().__init__(ROW, HEADS, _LOGGED, words, np.uint64)
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
        values: Values = (),
    ) -> FoldResult[ValuedChanges]:
        """Fold events in order of arrival; see `PersonState.fold`."""
        hashes = value_hashes(values[0]) if self._shape.places else ValueHashes.none(len(at))
        events = ActiveEvents(
            slots,
            offsets,
            self._buckets.numbers(at),
            self._buckets.numbers(at - self.lateness_ms),
            at,
            hashes.numbers,
        )
        self.reserve(persons, len(at))
        of_window = _CHANGES_BY_VALUE if self._shape.places else _CHANGES
        self._changes = grown(self._changes, len(at) * (of_window * len(self._shape.windows) + 1))
        self._counters[:] = 0
        dirty = np.empty(len(at), np.int32)
        fold(self._shape, self._columns(dirty), events)
        self.newest = max(self.newest, int(at.max()))
        newly_dirty = self.touch(dirty[: self._counters[DIRTY]])
        changes = ValuedChanges(self._changes[: self._counters[CHANGES]], hashes.tokens_by_number())
        return FoldResult(changes, newly_dirty, int(self._counters[LATE]))

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        state = cls(WINDOWS[DAY_S], Buckets(DAY_S, "UTC"), 0)
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
