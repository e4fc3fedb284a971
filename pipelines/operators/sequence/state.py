"""The state of one funnel in one partition: the columns that `funnel_fold` works on.

Columns grow by half when they are full, so that there is no capacity to choose.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.operator import Expired, FoldResult, Masks, Packed, Values
from pipelines.engine.rows import PersonRows
from pipelines.engine.timers import Timers
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.emit import COUNTS, FRESH, TIMERS, show
from pipelines.operators.sequence.kernel import CHANGE, ENTRY, EVENT, ROW, Shape
from pipelines.operators.sequence.pack import MALFORMED, pack, pack_bound, unpack
from pipelines.operators.sequence.timers import EXPIRED, expire, schedule

_FROM_THE_START = np.zeros(1, np.int64)
_NARROW_WINDOW_MS = 2**31 - 1
_LAYOUT = 1
# The arrays beside the rows, and which head tells how much of each is used.
_USED = {"entries": ff.ENTRIES, "times": ff.ENTRIES, "tail": ff.TAIL}


class FunnelState(PersonRows):
    """One funnel, one partition. A person is a slot of the partition's key index."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(ROW, ff.HEADS)
        self.shape = shape
        self.heads[ff.FREE_ENTRY] = self.heads[ff.FREE_BLOCK :] = ff.NONE
        self.entries = np.zeros(64, ENTRY)
        relative = np.int32 if shape.window <= _NARROW_WINDOW_MS else np.int64
        self.times = np.zeros((64, ff.TIMES, shape.steps), relative)
        self.tail = np.zeros(64, EVENT)
        self._changes = np.zeros(256, CHANGE)
        self._scratch = np.zeros((3, shape.steps), np.int64)
        self._timers = Timers()

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        held = (self.row_of, self.rows, self.entries, self.times, self.tail, self._changes)
        return sum(array.nbytes for array in held)

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),  # noqa: ARG002 (it reads no property)
    ) -> FoldResult:
        """Fold events in order of arrival; `persons` is the size of the index `slots` are of.

        The changes are views, good until the next call.
        """
        self._reserve(persons, rows=len(at), entries=int(np.count_nonzero(masks & 1)))
        self.heads[ff.CHANGES] = self.heads[ff.TOUCHED] = self.heads[ff.LATE] = 0
        dirty = np.empty(len(at), np.int32)
        done = 0
        while True:
            done = ff.fold(
                self.shape,
                self.rows,
                self.entries,
                self.times,
                self.tail,
                self._changes,
                self.heads,
                self.row_of,
                dirty,
                slots,
                at,
                masks,
                offsets,
                self.stamps,
                self._scratch,
                done,
            )
            if done == len(at):
                break
            self._make_more_room()
        newly_dirty, due, ids = self._show(dirty[: self.heads[ff.TOUCHED]])
        self._timers.add(due, ids)
        changes = self._changes[: self.heads[ff.CHANGES]]
        return FoldResult(changes, newly_dirty, int(self.heads[ff.LATE]))

    def _show(self, dirty: Int32s) -> tuple[Int32s, Int64s, Int32s]:
        """Bring rows up to date: returns those that did not wait to be logged, and new timers."""
        newly_dirty, counts = np.empty(len(dirty), np.int32), np.zeros(COUNTS, np.int64)
        room = 2 * len(dirty) + ff.MAX_TAIL
        due, ids = np.empty(room, np.int64), np.empty(room, np.int32)
        done = 0
        while True:
            done = show(
                self.shape,
                self.rows,
                self.entries,
                self.times,
                self.tail,
                self._changes,
                self.heads,
                dirty,
                newly_dirty,
                due,
                ids,
                counts,
                self._scratch,
                done,
            )
            if done == len(dirty):
                timers = slice(counts[TIMERS])
                return newly_dirty[: counts[FRESH]], due[timers], ids[timers]
            days = int(ff.days_at_most(self.rows, self.entries, int(dirty[done])))
            self._make_room(changes=int(self.heads[ff.CHANGES]) + days * self.shape.steps)
            timers_at_most = int(counts[TIMERS]) + days
            due, ids = grown(due, timers_at_most), grown(ids, timers_at_most)

    def expire(self, now: int) -> Expired | None:
        """Do what is due at `now` (ms); None if nothing is."""
        due, ids = self._timers.take(now)
        if not len(ids):
            return None
        expired = np.empty(len(ids), EXPIRED)
        expire(
            self.shape,
            self.rows,
            self.entries,
            self.times,
            self.tail,
            self.heads,
            now,
            due,
            ids,
            expired,
        )
        again = expired["due"] > 0
        self._timers.add(expired["due"][again], ids[again])
        changed = np.unique(expired["row"][expired["row"] != ff.NONE])
        return Expired(expired, changed)

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""
        out = np.empty(
            pack_bound(self.shape, self.rows, self.entries, self.times, self.tail, rows), np.uint8
        )
        ends = np.empty(len(rows), np.int64)
        pack(self.shape, self.rows, self.entries, self.times, self.tail, rows, stamp, out, ends)
        self.logged(rows)
        return Packed(out, np.concatenate([_FROM_THE_START, ends])[:-1], ends)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Put logged rows in the place of what is known of their persons.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        self._reserve(persons, rows=len(slots), entries=ff.MAX_TAIL)
        self.stamps = grown(self.stamps, len(self.rows))
        done = 0
        while True:
            done = unpack(
                self.shape,
                self.rows,
                self.entries,
                self.times,
                self.tail,
                self._changes,
                self.heads,
                self.row_of,
                self.stamps,
                slots,
                *packed,
                self._scratch,
                done,
            )
            if done == MALFORMED:
                raise ValueError(f"a row of the state was not packed by layout {_LAYOUT}")
            if done == len(slots):
                break
            self._make_room(entries=ff.MAX_TAIL, changes=2 * ff.MAX_TAIL * self.shape.steps)

    def restored(self, clock: int | None = None) -> None:
        """The state is complete: from here on every event counts."""
        super().restored(clock)
        self.entries["timer"] = 0
        self._timers = Timers()
        every = np.arange(self.size, dtype=np.int32)
        most = int(self.heads[ff.ENTRIES])
        due, ids = np.empty(most, np.int64), np.empty(most, np.int32)
        count = schedule(self.shape, self.rows, self.entries, self.times, every, due, ids)
        self._timers.add(due[:count], ids[:count])

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns, to be loaded by the same version of this code."""
        arrays = super().dump()
        for name, head in _USED.items():
            arrays[name] = getattr(self, name)[: self.heads[head]].copy()
        return arrays

    def load(self, columns: dict[str, NDArray[Any]], stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        for name in _USED:
            setattr(self, name, columns[name])

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        state = cls(Shape(2, 1_000, 0))
        nothing = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), nothing, np.ones(1, np.uint32), nothing)
        state.unpack(1, np.zeros(1, np.int32), state.pack(np.zeros(1, np.int32), 0))
        state.restored()
        ff.days_at_most(state.rows, state.entries, 0)
        state.expire(10 * ff.DAY_MS)

    def _reserve(self, persons: int, *, rows: int, entries: int) -> None:
        self.reserve(persons, rows)
        self._make_room(entries=entries)

    def _make_room(self, *, entries: int = 0, changes: int = 0) -> None:
        """Room for so many more entries, so many changes, and for events in the tail."""
        entries_used, tail_used = int(self.heads[ff.ENTRIES]), int(self.heads[ff.TAIL])
        self.entries = grown(self.entries, entries_used + entries)
        self.times = grown(self.times, len(self.entries))
        self.tail = grown(self.tail, tail_used + 2 * ff.MAX_TAIL)
        self._changes = grown(self._changes, changes)

    def _make_more_room(self) -> None:
        """The fold stopped: the tail was full, or the changes were."""
        tail_full = self.heads[ff.TAIL] + 2 * ff.MAX_TAIL > len(self.tail)
        self._make_room(changes=0 if tail_full else 2 * len(self._changes))


register_example(FunnelState.precompile)
