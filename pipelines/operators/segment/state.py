"""The state of one segment in one partition: the columns that `segment_fold` works on.

What persons performed in order is a funnel's question, so a funnel's state keeps it (`orders`).

Whoever enters or leaves is logged with the same commit that announces it. So what the log says of
membership is what was announced, and events that are folded again when a partition is restored
announce nothing: what they did to membership is taken back, and looked at anew.
"""

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import NEVER, Expired, FoldResult, Masks, Packed, Values
from pipelines.engine.person_record import Part, join_columns, split
from pipelines.engine.rows import UNLOGGED
from pipelines.engine.timers import Timers
from pipelines.matching.conditions import Test
from pipelines.operators.segment import kernel as sf
from pipelines.operators.segment.kernel import CHANGE, RECHECK, ROW
from pipelines.operators.segment.program import FOREVER, Program, compile_rule
from pipelines.operators.sequence.kernel import Shape
from pipelines.operators.sequence.state import FunnelState
from schemas.operators.segment import Performed, Rule

_LOGGED: Final = ("member", "known", "until")
# What is due beyond waits for the next call, so that none takes long.
TIMERS_BATCH: Final = 20_000
_NONE: Final = -1
_OWN_ROW: Final = np.uint64(0)  # the tag beside which the orders have theirs


class SegmentState(FixedRows):
    """One segment, one partition. A person is a slot of the partition's key index."""

    def __init__(self, program: Program, lateness_ms: int) -> None:
        super().__init__(ROW, sf.HEADS, _LOGGED, len(program.blank), np.int64)
        self.heads[sf.CLOCK] = NEVER
        self._program = program
        self._orders = [
            FunnelState(Shape(len(order.bits), order.window_ms, lateness_ms))
            for order in program.orders
        ]
        self._changes = np.zeros(max(256, 8 * len(program.code)), CHANGE)
        self._timers = Timers()
        self._values, self._untils = np.zeros((2, program.depth), np.int64)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        held = (self.row_of, self.rows, self.words, self._changes)
        own = sum(array.nbytes for array in held) + 12 * len(self._timers)
        return own + sum(order.nbytes for order in self._orders)

    @property
    def clock(self) -> int | None:
        """What the project's clock said when it was last told, None if it never was."""
        clock = int(self.heads[sf.CLOCK])
        return None if clock == NEVER else clock

    @property
    def announced(self) -> Int32s:
        """The persons of whom a change was ever announced."""
        return self.persons_of(np.flatnonzero(self.rows["known"][: self.size]).astype(np.int32))

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
        told = self._told(len(at), values)
        if self._program.told:
            about = (masks & ~np.uint32(self._program.person_mask) != 0) | told.any(axis=1)
            slots, at, masks, offsets = slots[about], at[about], masks[about], offsets[about]
            told = told[about]
        performed, moved, late = self._perform(persons, slots, at, masks, offsets)
        self.reserve(persons, len(at))
        for head in (sf.CHANGES, sf.TOUCHED, sf.TIMERS):
            self.heads[head] = 0
        dirty, ids = np.empty(len(at), np.int32), np.empty(len(at), np.int32)
        due = np.empty(len(at), np.int64)
        done = 0
        while True:
            done = sf.fold(
                self._program.registers,
                self._program.code,
                self._program.blank,
                self.rows,
                self.words,
                self._changes,
                self.heads,
                self.row_of,
                dirty,
                due,
                ids,
                slots,
                at,
                masks,
                told,
                performed,
                offsets,
                self.stamps,
                self._values,
                self._untils,
                done,
            )
            if done == len(at):
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        # Who only moved on in an order has a row that differs in the log, too.
        newly_dirty = self.touch(
            np.concatenate([dirty[: self.heads[sf.TOUCHED]], self.row_of[moved]])
        )
        timers = self.heads[sf.TIMERS]
        self._timers.add(due[:timers], ids[:timers])
        changes = self._changes[: self.heads[sf.CHANGES]]
        return FoldResult(changes, newly_dirty, late, np.unique(changes["row"]))

    def _told(self, events: int, values: Values) -> NDArray[np.uint8]:
        """What the events tell of properties, by `Program.reads`."""
        told = np.full((events, len(values)), sf.NOTHING, np.uint8)
        for place, column in enumerate(values):
            name, test = self._program.told[place // 2]
            told[:, place] = column.each(partial(_tell, name, test), np.uint8)
        return told

    def _perform(
        self, persons: int, slots: Int32s, at: Int64s, masks: Masks, offsets: Int64s
    ) -> tuple[Masks, Int32s, int]:
        """Which events complete which orders, who moved on in one, and how many came too late.

        Who has done it is not followed any more. Of a batch's events that are steps, the person's
        last one is taken to have done it.
        """
        performed, moved, late = np.zeros(len(at), np.uint32), [np.empty(0, np.int32)], 0
        for number, (order, state) in enumerate(
            zip(self._program.orders, self._orders, strict=True)
        ):
            steps = np.zeros(len(at), np.uint32)
            for step, bit in enumerate(order.bits):
                steps |= (masks >> np.uint32(bit) & np.uint32(1)) << np.uint32(step)
            own = np.flatnonzero(steps)
            own = own[~_has_done(state, slots[own], len(order.bits))]
            if not len(own):
                continue
            folded = state.fold(persons, slots[own], at[own], steps[own], offsets[own])
            late += folded.late
            moved.append(state.persons_of(folded.newly_dirty))
            own = own[_has_done(state, slots[own], len(order.bits))]
            _, from_the_end = np.unique(slots[own][::-1], return_index=True)
            performed[own[len(own) - 1 - from_the_end]] |= np.uint32(1 << number)
        return performed, np.concatenate(moved), late

    def expire(self, now: int) -> Expired | None:
        """Do what is due at `now` (ms), or a part of it; None if nothing is."""
        self.heads[sf.CLOCK] = max(self.heads[sf.CLOCK], now)
        for order in self._orders:
            order.expire(now)  # it only lets go of what has become too old
        due, ids = self._timers.take(int(self.heads[sf.CLOCK]), TIMERS_BATCH)
        if not len(ids):
            return None
        self.heads[sf.CHANGES] = 0
        again = np.empty(len(ids), np.int64)
        done = 0
        while True:
            done = sf.expire(
                self._program.code,
                self.rows,
                self.words,
                self._changes,
                self.heads,
                int(self.heads[sf.CLOCK]),
                due,
                ids,
                again,
                self._values,
                self._untils,
                done,
            )
            if done == len(ids):
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        self._timers.add(again[again != 0], ids[again != 0])
        changes = self._changes[: self.heads[sf.CHANGES]]
        return Expired(changes, np.unique(changes["row"]), counted=True)

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""
        own = super().pack(rows, stamp)
        if not self._orders:
            return own
        parts = [Part(_OWN_ROW, np.arange(len(rows)), own)]
        persons = self.persons_of(rows)
        for number, order in enumerate(self._orders, 1):
            theirs = order.rows_of(persons)
            places = np.flatnonzero(theirs != _NONE)
            parts.append(Part(np.uint64(number), places, order.pack(theirs[places], stamp)))
        return join_columns(len(rows), parts)

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Put logged rows in the place of what is known of their persons.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        if not self._orders:
            self._unpack(persons, slots, packed)
            return
        data = np.concatenate(
            [packed.data[begin:end] for begin, end in zip(packed.begins, packed.ends, strict=True)]
        )
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(packed.ends - packed.begins)])
        parts = split(data, starts)
        for number, unpack in enumerate([self._unpack, *(o.unpack for o in self._orders)]):
            own = np.flatnonzero(parts.tags == number)
            rows = Packed(data, parts.begins[own], parts.ends[own])
            unpack(persons, slots[parts.records[own]], rows)

    def _unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        super().unpack(persons, slots, packed)
        rows = self.row_of[slots]
        self.rows["logged_member"][rows] = self.rows["member"][rows]

    def restored(self, clock: int | None = None) -> None:
        """The state is complete: from here on every event counts.

        What was folded again was looked at when it happened, not when it came: so nothing is told
        of what it would have been in between, only of what is otherwise from `clock` on.
        """
        super().restored(clock)
        for order in self._orders:
            order.restored(clock)
        self.heads[sf.CLOCK] = max(self.heads[sf.CLOCK], NEVER if clock is None else clock)
        rows = self.rows[: self.size]
        again = rows["dirty"] & UNLOGGED != 0
        rows["until"][again & (rows["until"] <= self.heads[sf.CLOCK])] = RECHECK
        rows["until"][rows["member"] != rows["logged_member"]] = RECHECK
        rows["member"] = rows["logged_member"]
        waiting = np.flatnonzero(rows["until"] != FOREVER).astype(np.int32)
        rows["timer"] = 0
        rows["timer"][waiting] = rows["until"][waiting]
        self._timers = Timers()
        self._timers.add(rows["timer"][waiting], waiting)

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns, to be loaded by the same version of this code."""
        columns = super().dump()
        for number, order in enumerate(self._orders):
            columns |= {f"{number}.{name}": column for name, column in order.dump().items()}
        return columns

    def load(self, columns: dict[str, NDArray[Any]], stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        self.rows["logged_member"] = self.rows["member"]
        for number, order in enumerate(self._orders):
            begin = f"{number}."
            order.load(
                {name[len(begin) :]: of for name, of in columns.items() if name.startswith(begin)},
                stamp,
            )

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        state = cls(compile_rule(Rule(performed=Performed(within_s=1))), 0)
        one = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), one, np.ones(1, np.uint32), one)
        state.expire(10_000)


def _tell(name: str, test: Test, value: Any) -> int:
    """What a value tells of a property."""
    if value is None:
        return sf.NOTHING
    return sf.HOLDS if test({name: value}) else sf.FAILS


def _has_done(state: FunnelState, slots: Int32s, steps: int) -> NDArray[np.bool_]:
    """Whether persons have ever done all steps."""
    rows = state.rows_of(slots)
    done: NDArray[np.bool_] = rows != _NONE
    done[done] = state.rows["best"][rows[done]] == steps
    return done
