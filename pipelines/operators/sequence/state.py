"""The state of one sequence in one partition. Columns that are full grow by half."""

from typing import Final

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Bools, Int32s, Int64s, register_example
from pipelines.engine.arena import TAIL
from pipelines.engine.arena_rows import ArenaRows
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import DAY_MS, NONE
from pipelines.engine.operator import (
    NO_ROWS,
    Expired,
    FoldResult,
    Packed,
    StateColumn,
    StateColumns,
)
from pipelines.engine.row_kernels import (
    CHANGES,
    DIRTY,
    LATE,
    NEWLY_DIRTY,
    TIMERS,
    DueTimers,
    EventBatch,
)
from pipelines.engine.timers import Timers
from pipelines.matching.match import Masks, Values
from pipelines.operators.sequence.columns import (
    ENTRIES,
    ENTRY,
    EVENT,
    FREE_ENTRY,
    HEADS,
    MAX_TAIL,
    ROW,
    STEP_CHANGE,
    STEP_TIMEOUT,
    TIMES,
    SequenceColumns,
    SequenceShape,
)
from pipelines.operators.sequence.emit import emit
from pipelines.operators.sequence.entries import max_days
from pipelines.operators.sequence.expire import expire
from pipelines.operators.sequence.kernel import fold
from pipelines.operators.sequence.pack import MALFORMED, VERSION, max_packed_size, pack, unpack
from pipelines.operators.sequence.timers import schedule

_MAX_INT32_MS: Final = 2**31 - 1


class SequenceState(ArenaRows):
    """How far persons got through the steps of one sequence, in one partition.

    Bit i of an event's mask: the event satisfies step i. The changes of `fold` are an array of
    `STEP_CHANGE`, those of `expire` one of `STEP_TIMEOUT`; both are valid until the next call.

    Unless `by_day`, rows are logged without what only counts by day: what was emitted of days is
    not the same after they are restored, and what persons have completed is.
    """

    def __init__(self, shape: SequenceShape, *, by_day: bool = True) -> None:
        super().__init__(ROW, EVENT, STEP_CHANGE, HEADS)
        self.shape = shape
        self._by_day = by_day
        self.heads[FREE_ENTRY] = NONE
        self._entries = np.zeros(64, ENTRY)
        self._times = _new_times(shape)
        self._scratch = np.zeros((3, shape.steps), np.int64)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        return super().nbytes + int(self._entries.nbytes + self._times.nbytes)

    def completed(self, persons: Int32s) -> Bools:
        """Return which persons have ever completed all steps."""
        rows = self.rows_of(persons)
        completed: Bools = rows != NONE
        level = self.rows["emitted_level"][rows[completed]]
        completed[completed] = level == self.shape.steps
        return completed

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),  # noqa: ARG002 (it reads no property)
    ) -> FoldResult[ValuedChanges]:
        """Fold events in order of arrival; see `PersonState.fold`."""
        self._reserve(persons, rows=len(at), entries=int(np.count_nonzero(masks & 1)))
        self.counters[:] = 0
        dirty = np.empty(len(at), np.int32)
        events = EventBatch(slots, at, masks, offsets)
        done = 0
        while True:
            done = fold(self.shape, self._columns(dirty), events, done)
            if done == len(at):
                break
            self._make_more_room()
        newly_dirty = self._emit(dirty)
        changes = ValuedChanges(self.changes[: self.counters[CHANGES]])
        return FoldResult(changes, newly_dirty, int(self.counters[LATE]))

    def _emit(self, dirty: Int32s) -> Int32s:
        """Bring dirty rows up to date; return those that were not waiting to be logged."""
        counters, count = self.counters, int(self.counters[DIRTY])
        newly_dirty = np.empty(count, np.int32)
        room = 2 * count + MAX_TAIL
        timers = DueTimers(np.empty(room, np.int64), np.empty(room, np.int32))
        done = 0
        while True:
            columns = self._columns(dirty)
            done = emit(self.shape, columns, newly_dirty, timers, done)
            if done == count:
                break
            days = int(max_days(columns, int(dirty[done])))
            self._make_room(changes=int(counters[CHANGES]) + days * self.shape.steps)
            room = int(counters[TIMERS]) + days
            timers = DueTimers(grown(timers.due, room), grown(timers.ids, room))
        used = slice(counters[TIMERS])
        self.timers.add(timers.due[used], timers.ids[used])
        return newly_dirty[: counters[NEWLY_DIRTY]]

    def expire(self, now: int) -> Expired[ValuedChanges] | None:
        """Let windows close that are over at `now` (ms); None if there are none."""
        due, ids = self.timers.take(now)
        if not len(ids):
            return None
        timeouts = np.empty(len(ids), STEP_TIMEOUT)
        expire(self.shape, self._columns(), now, DueTimers(due, ids), timeouts)
        again = timeouts["due"] > 0
        self.timers.add(timeouts["due"][again], ids[again])
        changed = np.unique(timeouts["row"][timeouts["row"] != NONE])
        return Expired(changed, timeouts=timeouts)

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """Pack rows for the log; they contain all events below source offset `stamp`."""
        columns = self._columns()
        out = np.empty(max_packed_size(self.shape, columns, rows), np.uint8)
        bounds = np.zeros(len(rows) + 1, np.int64)
        pack(self.shape, columns, rows, stamp, out, bounds[1:], self._by_day)
        self.logged(rows)
        return Packed(out, bounds[:-1], bounds[1:])

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of persons by logged ones.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        self._reserve(persons, rows=len(slots), entries=MAX_TAIL)
        self.stamps = grown(self.stamps, len(self.rows))
        done = 0
        while True:
            done = unpack(self.shape, self._columns(), slots, packed, done)
            if done == MALFORMED:
                raise ValueError(f"a row of the state was not packed by layout {VERSION}")
            if done == len(slots):
                break
            self._make_room(entries=MAX_TAIL, changes=2 * MAX_TAIL * self.shape.steps)

    def restored(self, clock: int | None = None) -> None:
        """Count every event from now on: the state is complete."""
        super().restored(clock)
        self._entries["timer"] = 0
        self.timers = Timers()
        every = np.arange(self.size, dtype=np.int32)
        room = int(self.heads[ENTRIES])
        timers = DueTimers(np.empty(room, np.int64), np.empty(room, np.int32))
        count = schedule(self.shape, self._columns(), every, timers)
        self.timers.add(timers.due[:count], timers.ids[:count])

    def dump(self) -> StateColumns:
        """Copy the columns; `load` takes the copy over."""
        used = slice(self.heads[ENTRIES])
        entries, times = self._entries[used].copy(), self._times[used].copy()
        return super().dump() | {"entries": entries, "times": times}

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        # Snapshots keep the names that fields had when they were written: fields go by position.
        self._entries = columns["entries"].view(ENTRY)
        self._times = columns["times"]

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        for window_ms in (1_000, _MAX_INT32_MS + 1):  # times of either width
            state = cls(SequenceShape(2, window_ms, 0))
            nothing = np.zeros(1, np.int64)
            state.fold(1, np.zeros(1, np.int32), nothing, np.ones(1, np.uint32), nothing)
            state.unpack(1, np.zeros(1, np.int32), state.pack(np.zeros(1, np.int32), 0))
            state.restored()
            max_days(state._columns(), 0)
            state.expire(2 * window_ms + 10 * DAY_MS)

    def _columns(self, dirty: Int32s = NO_ROWS) -> SequenceColumns:
        return SequenceColumns(
            self.rows,
            self._entries,
            self._times,
            self.tail,
            self.changes,
            self.heads,
            self.counters,
            self.row_of,
            self.stamps,
            dirty,
            self._scratch,
        )

    def _reserve(self, persons: int, *, rows: int, entries: int) -> None:
        self.reserve(persons, rows)
        self._make_room(entries=entries)

    def _make_room(self, *, entries: int = 0, changes: int = 0) -> None:
        """Make room for more entries, for `changes` in all, and for events in the tail."""
        self._entries = grown(self._entries, int(self.heads[ENTRIES]) + entries)
        self._times = grown(self._times, len(self._entries))
        self.reserve_events(2 * MAX_TAIL)
        self.changes = grown(self.changes, changes)

    def _make_more_room(self) -> None:
        """Enlarge what made the fold stop: the tail, or the changes."""
        tail_full = self.heads[TAIL] + 2 * MAX_TAIL > len(self.tail)
        self._make_room(changes=0 if tail_full else 2 * len(self.changes))


register_example(SequenceState.precompile)


def _new_times(shape: SequenceShape) -> StateColumn:
    width = np.int32 if shape.window <= _MAX_INT32_MS else np.int64
    return np.zeros((64, TIMES, shape.steps), width)
