"""The state of one metric of persons in one partition: the columns that `actives_fold` works on."""

from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import NEVER, Expired, FoldResult, Masks, Values
from pipelines.operators.metric import active_kernel as af
from pipelines.operators.metric.active_kernel import CHANGE, ROW
from schemas.operators.metric import DAY_S, MAX_LATE_BUCKETS, WINDOWS
from schemas.time.buckets import Buckets

_LOGGED: Final = ("base", "watermark", "seen")


class ActiveState(FixedRows):
    """One metric of persons, one partition. A person is a slot of the partition's key index.

    `newest` is the time of the newest event, `NEVER` at first. The lateness reaches back over
    `MAX_LATE_BUCKETS` at most.
    """

    def __init__(self, bucket_s: int, timezone: str, lateness_ms: int) -> None:
        self._windows = np.array(WINDOWS[bucket_s], np.int64)
        self._buckets = Buckets(bucket_s, timezone)
        self.lateness_ms = min(lateness_ms, 1_000 * bucket_s * MAX_LATE_BUCKETS)
        reach = int(self._windows[-1]) + self._buckets.max_count(self.lateness_ms)
        super().__init__(ROW, af.HEADS, _LOGGED, -(-reach // 64), np.uint64)
        self.newest = NEVER
        self._changes = np.zeros(256, CHANGE)

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
        masks: Masks,  # noqa: ARG002 (there is one look)
        offsets: Int64s,
        values: Values = (),  # noqa: ARG002 (it reads no property)
    ) -> FoldResult:
        """Fold events in order of arrival; see `PersonState.fold`."""
        self.reserve(persons, len(at))
        self._changes = grown(self._changes, len(at) * (len(self._windows) + 1))
        self.heads[af.CHANGES] = self.heads[af.LATE] = self.heads[af.TOUCHED] = 0
        dirty = np.empty(len(at), np.int32)
        af.fold(
            self._windows,
            self.rows,
            self.words,
            self._changes,
            self.heads,
            self.row_of,
            dirty,
            slots,
            self._buckets.numbers(at),
            self._buckets.numbers(at - self.lateness_ms),
            at // 1_000,
            offsets,
            self.stamps,
        )
        self.newest = max(self.newest, int(at.max()))
        dirty = dirty[: self.heads[af.TOUCHED]]
        newly_dirty = self.touch(dirty)
        return FoldResult(
            self._changes[: self.heads[af.CHANGES]], newly_dirty, int(self.heads[af.LATE])
        )

    def expire(self, now: int) -> Expired | None:  # noqa: ARG002 (buckets end by events)
        """Nothing: which windows end when is for readers to know."""
        return None

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        state = cls(DAY_S, "UTC", 0)
        one = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), one, np.ones(1, np.uint32), one)
