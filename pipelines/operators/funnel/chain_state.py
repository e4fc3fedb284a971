"""The state of one funnel with options in one partition: what `funnel_chain_fold` works on.

Columns grow by half when they are full, so that there is no capacity to choose.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.argsort import order_of
from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s, register_example
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.operator import Expired, FoldResult, Masks, Packed, Values
from pipelines.engine.rows import PersonRows
from pipelines.engine.timers import Timers
from pipelines.matching.value_hash import ValueHashes
from pipelines.operators.funnel import chain_kernel as cf
from pipelines.operators.funnel.chain_kernel import CHANGE, ROW
from pipelines.operators.funnel.chain_pack import pack, pack_bound, unpack
from pipelines.operators.funnel.chain_rules import (
    CELL,
    EVENT,
    EXCLUDED,
    FIRST,
    LAST,
    NOBODY,
    Rules,
    cells_needed,
)
from pipelines.operators.funnel.chain_timers import expire, look, schedule
from pipelines.operators.sequence import kernel as ff
from pipelines.operators.sequence.pack import MALFORMED
from pipelines.operators.sequence.timers import EXPIRED
from schemas.operators.funnel import Breakdown, Funnel, exclusion_spans, next_steps

_FROM_THE_START: Final = np.zeros(1, np.int64)
_LAYOUT: Final = 1


def rules_of(funnel: Funnel, lateness_ms: int) -> Rules:
    """The rules of a funnel. Its looks are its steps, its exclusions, and in a strict one, any."""
    steps = len(funnel.steps)
    return Rules(
        steps,
        1_000 * funnel.window_s,
        lateness_ms,
        funnel.order == "any",
        funnel.order == "strict",
        funnel.once,
        funnel.entries,
        _attribution(funnel.breakdown),
        np.array([next_steps(funnel, step) for step in range(steps)], np.int64),
        np.array(exclusion_spans(funnel), EXCLUDED),
    )


def _attribution(breakdown: Breakdown | None) -> int:
    if breakdown is None:
        return NOBODY
    match breakdown.attribution:
        case "first":
            return FIRST
        case "last":
            return LAST
        case step:
            return LAST + step


class ChainState(PersonRows):
    """One funnel, one partition. A person is a slot of the partition's key index."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(ROW, cf.HEADS)
        self.rules = rules
        self.heads[ff.FREE_BLOCK :] = ff.NONE
        self.tail = np.zeros(64, EVENT)
        self._changes = np.zeros(256, CHANGE)
        self._timers = Timers()
        self._reached = np.empty(rules.steps, np.int64)
        self._cells = np.zeros((2, 0), CELL)
        self._make_cells(8)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        held = (self.row_of, self.rows, self.tail, self._changes, self._cells, self._numbers)
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
        """Fold events in order of arrival; see `PersonState.fold`.

        The `values` are what is held constant, and then what figures are broken down by: each as
        `ValueHashes`, and only if there is such a thing.
        The changes are views, good until the next call.
        """
        self.reserve(persons, len(at))
        self.heads[ff.CHANGES] = self.heads[ff.TOUCHED] = self.heads[ff.LATE] = 0
        dirty = np.empty(len(at), np.int32)
        order = order_of(slots)
        slots, at, masks, offsets = slots[order], at[order], masks[order], offsets[order]
        held = of = ValueHashes.none(len(at))
        if self.rules.attribution != NOBODY:
            *values, of = values
        if values:
            (held,) = values
        done = 0
        while True:
            done = cf.fold(
                self.rules,
                self.rows,
                self.tail,
                self._changes,
                self._cells,
                self._numbers,
                self.heads,
                self.row_of,
                dirty,
                slots,
                at,
                masks,
                held.numbers[order],
                of.numbers[order],
                offsets,
                self.stamps,
                self._reached,
                done,
            )
            if done == len(at):
                break
            self._make_room_for(slots, done)
        dirty = dirty[: self.heads[ff.TOUCHED]]
        newly_dirty = self.touch(dirty)
        self._schedule(dirty)
        changes = ValuedChanges(self._changes[: self.heads[ff.CHANGES]], of.told())
        return FoldResult(changes, newly_dirty, int(self.heads[ff.LATE]))

    def expire(self, now: int) -> Expired | None:
        """Do what is due at `now` (ms); None if nothing is."""
        due, which = self._timers.take(now)
        if not len(which):
            return None
        expired = np.zeros(256, EXPIRED)
        done = used = 0
        while True:
            done, used = expire(
                self.rules,
                self.rows,
                self.tail,
                self._cells,
                self._numbers,
                self.heads,
                now,
                due,
                which,
                expired,
                self._reached,
                done,
                used,
            )
            if done == len(which):
                break
            self._make_cells(self._needed(int(self.rows["length"][which[done]])))
            expired = grown(expired, used + self._cells.shape[1])
        self._timers.add(due[due != 0], which[due != 0])
        return Expired(expired[:used], np.unique(expired["row"][:used]))

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""
        out = np.empty(pack_bound(self.rows, rows), np.uint8)
        ends = np.empty(len(rows), np.int64)
        pack(self.rows, self.tail, rows, stamp, out, ends)
        self.logged(rows)
        return Packed(out, np.concatenate([_FROM_THE_START, ends])[:-1], ends)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Put logged rows in the place of what is known of their persons.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        self.reserve(persons, len(slots))
        self.stamps = grown(self.stamps, len(self.rows))
        done = 0
        while True:
            done = unpack(
                self.rows,
                self.tail,
                self.heads,
                self.row_of,
                self.stamps,
                slots,
                *packed,
                done,
            )
            if done == MALFORMED:
                raise ValueError(f"a row of the state was not packed by layout {_LAYOUT}")
            if done == len(slots):
                break
            self.tail = grown(self.tail, int(self.heads[ff.TAIL]) + 4 * cf.MAX_EVENTS)

    def restored(self, clock: int | None = None) -> None:
        """The state is complete: from here on every event counts."""
        super().restored(clock)
        self.rows["timer"] = 0
        self._timers = Timers()
        rows = np.arange(self.size, dtype=np.int32)
        done = 0
        while True:
            done = look(
                self.rules,
                self.rows,
                self.tail,
                self._cells,
                self._numbers,
                rows,
                self._reached,
                done,
            )
            if done == len(rows):
                break
            self._make_cells(self._needed(int(self.rows["length"][done])))
        self._schedule(rows)

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns, to be loaded by the same version of this code."""
        return super().dump() | {"tail": self.tail[: self.heads[ff.TAIL]].copy()}

    def load(self, columns: dict[str, NDArray[Any]], stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        self.tail = columns["tail"]

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        nothing = np.zeros(1, np.int64)
        one = Rules(2, 1_000, 0, False, False, False, False, 0, nothing, np.zeros(1, EXCLUDED))
        state = cls(one)
        state.fold(1, np.zeros(1, np.int32), nothing, np.ones(1, np.uint32), nothing)
        state.unpack(1, np.zeros(1, np.int32), state.pack(np.zeros(1, np.int32), 0))
        state.restored()
        state.expire(10 * ff.DAY_MS)

    def _schedule(self, rows: Int32s) -> None:
        due = np.empty(len(rows), np.int64)
        if schedule(self.rows, rows, due):
            self._timers.add(due[due != 0], rows[due != 0])

    def _make_room_for(self, slots: Int32s, begin: int) -> None:
        """The kernel stopped: there is no room for all events of the person at `begin`."""
        row = self.row_of[slots[begin]]
        more = int(np.searchsorted(slots, slots[begin], "right")) - begin
        length = min(int(self.rows["length"][row]) + more, cf.MAX_EVENTS)
        needed = self._needed(length)
        self._make_cells(needed)
        changes = int(self.heads[ff.CHANGES]) + 2 * needed * self.rules.steps
        self._changes = grown(self._changes, changes)
        self.tail = grown(self.tail, int(self.heads[ff.TAIL]) + 4 * length)

    def _needed(self, length: int) -> int:
        return int(cells_needed(self.rules, length))

    def _make_cells(self, count: int) -> None:
        if self._cells.shape[1] >= count:
            return
        count = max(count, 2 * self._cells.shape[1])
        self._cells = np.zeros((2, count), CELL)
        self._numbers = np.zeros((2, count, 3, self.rules.steps), np.int64)


register_example(ChainState.precompile)
