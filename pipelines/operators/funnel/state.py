"""The state of one funnel with options in one partition. Columns that are full grow by half."""

from typing import Final

import numpy as np

from pipelines.columnar.argsort import order_of
from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.arena_rows import ArenaRows
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import DAY_MS
from pipelines.engine.operator import NO_ROWS, Expired, FoldResult, Packed
from pipelines.engine.row_kernels import CHANGES, DIRTY, LATE, OVERFLOW, DueTimers
from pipelines.engine.timers import Timers
from pipelines.matching.match import Masks, Values, value_hashes
from pipelines.matching.value_hash import ValueHashes
from pipelines.operators.funnel.columns import (
    CHANGE,
    EVENT,
    HEADS,
    MAX_EVENTS,
    NUMBERS,
    OUTCOME,
    ROW,
    FunnelColumns,
    FunnelEvents,
    Outcomes,
)
from pipelines.operators.funnel.kernel import fold
from pipelines.operators.funnel.outcomes import max_outcomes
from pipelines.operators.funnel.pack import MALFORMED, VERSION, max_packed_size, pack, unpack
from pipelines.operators.funnel.rules import EXCLUSION, NOT_BROKEN_DOWN, Rules
from pipelines.operators.funnel.timers import expire, find_due, schedule
from pipelines.operators.sequence import STEP_TIMEOUT

_FIRST_ROOM: Final = 8  # outcomes


class FunnelState(ArenaRows):
    """How far persons got through one funnel with options, in one partition.

    Bits of an event's mask are the selectors that `selectors` returns. The records of a fold's
    changes are of type `CHANGE`, the timeouts of `expire` of type `STEP_TIMEOUT`; both are valid
    until the next call.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__(ROW, EVENT, CHANGE, HEADS)
        self.rules = rules
        self._reached = np.empty(2 * rules.steps, np.int64)
        self._before, self._after = self._outcomes(_FIRST_ROOM), self._outcomes(_FIRST_ROOM)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        outcomes = (*self._before, *self._after)
        return super().nbytes + sum(held.nbytes for held in outcomes)

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult[ValuedChanges]:
        """Fold events in order of arrival; see `PersonState.fold`.

        `values` are what the funnel holds constant and what it is broken down by, in this order,
        each only if it does so.
        """
        self.reserve(persons, len(at))
        self.counters[:] = 0
        order = order_of(slots)
        held = broken_down = ValueHashes.none(len(at))
        if self.rules.attribution != NOT_BROKEN_DOWN:
            *values, last = values
            broken_down = value_hashes(last)
        if values:
            held = value_hashes(values[0])
        events = FunnelEvents(
            slots[order],
            at[order],
            masks[order],
            offsets[order],
            held.numbers[order],
            broken_down.numbers[order],
        )
        dirty = np.empty(len(at), np.int32)
        done = 0
        while True:
            done = fold(self.rules, self._columns(dirty), events, done)
            if done == len(at):
                break
            self._make_room_for(events.slots, done)
        dirty = dirty[: self.counters[DIRTY]]
        newly_dirty = self.touch(dirty)
        self._schedule(dirty)
        changes = ValuedChanges(
            self.changes[: self.counters[CHANGES]], broken_down.tokens_by_number()
        )
        late, overflow = int(self.counters[LATE]), int(self.counters[OVERFLOW])
        return FoldResult(changes, newly_dirty, late, overflow=overflow)

    def expire(self, now: int) -> Expired[ValuedChanges] | None:
        """Let windows close that are over at `now` (ms); None if there are none."""
        due, ids = self.timers.take(now)
        if not len(ids):
            return None
        timers = DueTimers(due, ids)
        timeouts = np.zeros(256, STEP_TIMEOUT)
        done = used = 0
        while True:
            done, used = expire(self.rules, self._columns(), now, timers, timeouts, done, used)
            if done == len(ids):
                break
            self._reserve_outcomes(self._max_outcomes(int(self.rows["length"][ids[done]])))
            timeouts = grown(timeouts, used + len(self._after.records))
        self.timers.add(due[due != 0], ids[due != 0])
        timeouts = timeouts[:used]
        return Expired(np.unique(timeouts["row"]), timeouts=timeouts)

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """Pack rows for the log; they contain all events below source offset `stamp`."""
        out = np.empty(max_packed_size(self.rows, rows), np.uint8)
        bounds = np.zeros(len(rows) + 1, np.int64)
        pack(self._columns(), rows, stamp, out, bounds[1:])
        self.logged(rows)
        return Packed(out, bounds[:-1], bounds[1:])

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of persons by logged ones.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        self.reserve(persons, len(slots))
        self.stamps = grown(self.stamps, len(self.rows))
        done = 0
        while True:
            done = unpack(self._columns(), slots, packed, done)
            if done == MALFORMED:
                raise ValueError(f"a row of the state was not packed by layout {VERSION}")
            if done == len(slots):
                break
            self.reserve_events(4 * MAX_EVENTS)

    def restored(self, clock: int | None = None) -> None:
        """Count every event from now on: the state is complete."""
        super().restored(clock)
        self.rows["timer"] = 0
        self.timers = Timers()
        rows = np.arange(self.size, dtype=np.int32)
        done = 0
        while True:
            done = find_due(self.rules, self._columns(), rows, done)
            if done == len(rows):
                break
            self._reserve_outcomes(self._max_outcomes(int(self.rows["length"][done])))
        self._schedule(rows)

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        nothing = np.zeros(1, np.int64)
        no_exclusion = np.zeros(1, EXCLUSION)
        state = cls(Rules(2, 1_000, 0, False, False, False, False, 0, nothing, no_exclusion))
        state.fold(1, np.zeros(1, np.int32), nothing, np.ones(1, np.uint32), nothing)
        state.unpack(1, np.zeros(1, np.int32), state.pack(np.zeros(1, np.int32), 0))
        state.restored()
        state.expire(10 * DAY_MS)
        state._max_outcomes(1)

    def _columns(self, dirty: Int32s = NO_ROWS) -> FunnelColumns:
        return FunnelColumns(
            self.rows,
            self.tail,
            self.changes,
            self.heads,
            self.counters,
            self.row_of,
            self.stamps,
            dirty,
            self._before,
            self._after,
            self._reached,
        )

    def _schedule(self, rows: Int32s) -> None:
        due = np.empty(len(rows), np.int64)
        if schedule(self.rows, rows, due):
            self.timers.add(due[due != 0], rows[due != 0])

    def _make_room_for(self, slots: Int32s, begin: int) -> None:
        """Make room for all events of the person at `begin`, at whom the fold stopped."""
        row = self.row_of[slots[begin]]
        more = int(np.searchsorted(slots, slots[begin], "right")) - begin
        length = min(int(self.rows["length"][row]) + more, MAX_EVENTS)
        outcomes = self._max_outcomes(length)
        self._reserve_outcomes(outcomes)
        changes = int(self.counters[CHANGES]) + 2 * outcomes * self.rules.steps
        self.changes = grown(self.changes, changes)
        self.reserve_events(4 * length)

    def _max_outcomes(self, length: int) -> int:
        return int(max_outcomes(self.rules, length))

    def _reserve_outcomes(self, count: int) -> None:
        if len(self._after.records) < count:
            room = max(count, 2 * len(self._after.records))
            self._before, self._after = self._outcomes(room), self._outcomes(room)

    def _outcomes(self, room: int) -> Outcomes:
        return Outcomes(
            np.zeros(room, OUTCOME), np.zeros((room, NUMBERS, self.rules.steps), np.int64)
        )


register_example(FunnelState.precompile)
