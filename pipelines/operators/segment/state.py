"""The state of one segment in one partition.

A person who enters or leaves is logged by the commit that publishes it. So the membership in the
log is the published one. Events that are folded again while a partition is restored publish
nothing: what they did to membership is undone, and it is evaluated again afterwards.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Bools, Int32s, Int64s, register_example
from pipelines.engine.constants import FOREVER, NEVER, NONE
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import (
    NO_ROWS,
    ChangeRecords,
    Expired,
    FoldResult,
    Packed,
    StateColumns,
)
from pipelines.engine.person_record import Part, join_columns, split
from pipelines.engine.row_kernels import (
    CHANGES,
    COUNTERS,
    DIRTY,
    TIMERS,
    DueTimers,
    EventBatch,
)
from pipelines.engine.rows import UNLOGGED
from pipelines.engine.timers import Timers
from pipelines.matching.conditions import Test
from pipelines.matching.match import Masks, Values, dictionary_column
from pipelines.operators.segment.columns import (
    CHANGE,
    CLOCK,
    FAILS,
    HEADS,
    HOLDS,
    RECHECK,
    ROW,
    UNSET,
    CompiledRule,
    SegmentColumns,
    SegmentEvents,
)
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.kernel import expire, fold
from pipelines.operators.segment.program import Program
from pipelines.operators.segment.sequences import Sequences
from schemas.operators.segment import Performed, Rule
from schemas.score_order import NO_SCORE

_LOGGED: Final = ("member", "published", "until")
TIMERS_BATCH: Final = 20_000  # timers that one call of `expire` handles at most
_OWN_ROW: Final = np.uint64(0)  # the tag of the segment's own row, beside those of its sequences
_NO_TIMERS: Final = DueTimers(np.empty(0, np.int64), np.empty(0, np.int32))


class SegmentState(FixedRows):
    """Who is in one segment, in one partition.

    Bits of an event's mask are the program's selectors, `values` what it reads. Changes are of type
    `CHANGE`, valid until the next call.
    """

    def __init__(self, program: Program, lateness_ms: int) -> None:
        super().__init__(ROW, HEADS, _LOGGED, len(program.blank), np.int64)
        self.heads[CLOCK] = NEVER
        self._program = program
        values, untils = np.zeros((2, program.depth), np.int64)
        self._rule = CompiledRule(program.registers, program.code, program.blank, values, untils)
        self._sequences = Sequences(program.sequences, lateness_ms)
        self._changes = np.zeros(max(256, 8 * len(program.code)), CHANGE)
        self._counters = np.zeros(COUNTERS, np.int64)
        self._timers = Timers()

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        own = self._changes.nbytes + 12 * len(self._timers)
        return super().nbytes + own + self._sequences.nbytes

    @property
    def scores(self) -> Mapping[str, int]:
        """The cells of scores, by the predictions that give them."""
        return self._program.scores

    @property
    def clock(self) -> int | None:
        """How far time has come (ms), None before the first event."""
        clock = int(self.heads[CLOCK])
        return None if clock == NEVER else clock

    @property
    def published_persons(self) -> Int32s:
        """Persons who ever entered or left."""
        rows = np.flatnonzero(self.rows["published"][: self.size])
        return self.persons_of(rows.astype(np.int32))

    @property
    def members(self) -> Int32s:
        """The rows of the persons who are in."""
        return np.flatnonzero(self.rows["member"][: self.size]).astype(np.int32)

    def moves_since(self, before: "SegmentState") -> ChangeRecords:
        """Return who is in and was not in `before`, and who is not and was, as of the clock.

        Persons of whom `before` has published a record count as published from now on.
        """
        rows = np.arange(self.size, dtype=np.int32)
        known = before.rows_of(self.persons_of(rows))
        member = np.where(known == NONE, 0, before.rows["member"][known])
        self.rows["published"][rows] |= np.where(known == NONE, 0, before.rows["published"][known])
        moved = rows[self.rows["member"][rows] != member]
        moves = np.zeros(len(moved), CHANGE)
        moves["row"], moves["entered"] = moved, self.rows["member"][moved]
        moves["at"], moves["event_at"] = self.heads[CLOCK], NEVER
        return moves

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
        *,
        clocks: Int64s | None = None,
    ) -> FoldResult[ChangeRecords]:
        """Fold events in order of arrival; see `PersonState.fold`.

        `clocks` are the times (ms) up to which the events move the clock: by default their own.
        """
        relevant, verdicts = self._relevant(masks, values)
        batch = EventBatch(slots[relevant], at[relevant], masks[relevant], offsets[relevant])
        clocks = batch.at if clocks is None else clocks[relevant]
        progress = self._sequences.fold(persons, batch)
        events = SegmentEvents(*batch, clocks, verdicts[relevant], progress.completed)
        count = len(batch.at)
        self.reserve(persons, count)
        self._counters[:] = 0
        dirty = np.empty(count, np.int32)
        timers = DueTimers(np.empty(count, np.int64), np.empty(count, np.int32))
        done = 0
        while True:
            done = fold(self._rule, self._columns(dirty, timers), events, done)
            if done == count:
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        # The row of a person who only came further in a sequence differs in the log, too.
        advanced = self.row_of[progress.newly_dirty]
        newly_dirty = self.touch(np.concatenate([dirty[: self._counters[DIRTY]], advanced]))
        used = slice(self._counters[TIMERS])
        self._timers.add(timers.due[used], timers.ids[used])
        changes = self._changes[: self._counters[CHANGES]]
        return FoldResult(changes, newly_dirty, progress.late, np.unique(changes["row"]))

    def _relevant(self, masks: Masks, values: Values) -> tuple[Bools | slice, NDArray[np.uint8]]:
        """Return which events matter, and what each event says of the property tests.

        The selector for events that set properties selects those that set others, too.
        """
        verdicts = np.full((len(masks), len(values)), UNSET, np.uint8)
        for place, column in enumerate(values):
            name, test = self._program.property_tests[place // 2]
            verdict = partial(_verdict, name, test)
            verdicts[:, place] = dictionary_column(column).each(verdict, np.uint8)
        if not self._program.property_tests:
            return slice(None), verdicts
        selected = masks & ~np.uint32(self._program.sets_properties) != 0
        relevant = selected | (verdicts != UNSET).any(axis=1)
        return relevant, verdicts

    def take_scores(self, persons: int, cell: int, slots: Int32s, scores: Int64s) -> Int32s:
        """Write the newest scores of some persons, each once, into a cell; return the rows to log.

        Whether these persons are in is evaluated when time passes next, or with their next event.
        """
        self.reserve(persons, len(slots))
        known = self.row_of[slots] != NONE
        self._add_rows(slots[~known & (scores != NO_SCORE)])
        rows = self.row_of[slots]
        changed = rows != NONE
        changed[changed] = self.words[rows[changed], cell] != scores[changed]
        rows = rows[changed]
        self.words[rows, cell] = scores[changed]
        self.rows["until"][rows] = self.rows["timer"][rows] = RECHECK
        self._timers.add(np.full(len(rows), RECHECK), rows)
        found: Int32s = rows
        return found

    def _add_rows(self, slots: Int32s) -> None:
        """Add rows for persons of whom there is no event."""
        begin = self.size
        rows = np.arange(begin, begin + len(slots), dtype=np.int32)
        self.row_of[slots] = rows
        self.rows[rows] = np.zeros(len(rows), ROW)
        self.rows["slot"][rows], self.rows["until"][rows] = slots, FOREVER
        self.words[rows] = self._program.blank
        self.heads[0] += len(rows)

    def take_scores_of(self, other: "SegmentState") -> None:
        """Take over the scores of a state of the same segment and the same persons."""
        for cell in self._program.scores.values():
            rows = np.flatnonzero(other.words[: other.size, cell] != NO_SCORE).astype(np.int32)
            slots, scores = other.persons_of(rows), other.words[rows, cell]
            self.take_scores(len(other.row_of), cell, slots, scores.astype(np.int64))

    def expire(self, now: int) -> Expired[ChangeRecords] | None:
        """Let time pass up to `now` (ms), for a bounded number of rows; None if none is due."""
        self.heads[CLOCK] = max(self.heads[CLOCK], now)
        self._sequences.expire(now)
        clock = int(self.heads[CLOCK])
        timers = DueTimers(*self._timers.take(clock, TIMERS_BATCH))
        count = len(timers.ids)
        if not count:
            return None
        self._counters[:] = 0
        again = np.empty(count, np.int64)
        done = 0
        while True:
            done = expire(self._rule, self._columns(), clock, timers, again, done)
            if done == count:
                break
            self._changes = grown(self._changes, 2 * len(self._changes))
        self._timers.add(again[again != 0], timers.ids[again != 0])
        changes = self._changes[: self._counters[CHANGES]]
        return Expired(np.unique(changes["row"]), changes=changes)

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """Pack rows for the log, with those of the sequences beside them."""
        own = super().pack(rows, stamp)
        if not self._sequences:
            return own
        parts = self._sequences.pack(self.persons_of(rows), stamp)
        return join_columns(len(rows), [Part(_OWN_ROW, np.arange(len(rows)), own), *parts])

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of persons by logged ones.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """
        if not self._sequences:
            self._unpack(persons, slots, packed)
            return
        data = np.concatenate(
            [packed.data[begin:end] for begin, end in zip(packed.begins, packed.ends, strict=True)]
        )
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(packed.ends - packed.begins)])
        parts = split(data, starts)
        if len(parts.malformed):
            raise ValueError("a row of the state was not packed with those of its sequences")
        if np.count_nonzero(parts.tags == _OWN_ROW) != len(packed):
            raise ValueError("a record of the state is without its person's own row")
        for tag in range(len(self._sequences) + 1):
            places = np.flatnonzero(parts.tags == tag)
            rows = Packed(data, parts.begins[places], parts.ends[places])
            owners = slots[parts.records[places]]
            if tag == _OWN_ROW:
                self._unpack(persons, owners, rows)
            else:
                self._sequences.unpack(tag, persons, owners, rows)

    def _unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        super().unpack(persons, slots, packed)
        rows = self.row_of[slots]
        self.rows["logged_member"][rows] = self.rows["member"][rows]

    def restored(self, clock: int | None = None) -> None:
        """Count every event from now on: the state is complete.

        Events that were folded again were evaluated at the times at which they happened, not at
        which they came. So what they would have changed in between is not published, only what is
        different from `clock` on.
        """
        super().restored(clock)
        self._sequences.restored()
        self.heads[CLOCK] = max(self.heads[CLOCK], NEVER if clock is None else clock)
        rows = self.rows[: self.size]
        unlogged = rows["dirty"] & UNLOGGED != 0
        recheck = unlogged & (rows["until"] <= self.heads[CLOCK])
        recheck |= rows["member"] != rows["logged_member"]
        rows["until"][recheck] = self.heads[CLOCK]  # what holds then decides, not what holds later
        rows["member"] = rows["logged_member"]
        waiting = np.flatnonzero(rows["until"] != FOREVER).astype(np.int32)
        rows["timer"] = 0
        rows["timer"][waiting] = rows["until"][waiting]
        self._timers = Timers()
        self._timers.add(rows["timer"][waiting], waiting)

    def rewind(self) -> None:
        """Let the clock begin again, for persons of whom there is no row yet."""
        self.heads[CLOCK] = NEVER

    def dump(self) -> StateColumns:
        """Copy the columns; `load` takes the copy over."""
        return super().dump() | self._sequences.dump()

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        self.rows["logged_member"] = self.rows["member"]
        self._sequences.load(columns, stamp)

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        state = cls(compile_rule(Rule(performed=Performed(within_s=1))), 0)
        at = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), at, np.ones(1, np.uint32), at)
        state.expire(10_000)

    def _columns(self, dirty: Int32s = NO_ROWS, timers: DueTimers = _NO_TIMERS) -> SegmentColumns:
        return SegmentColumns(
            self.rows,
            self.words,
            self._changes,
            self.heads,
            self._counters,
            self.row_of,
            self.stamps,
            dirty,
            timers,
        )


register_example(SegmentState.precompile)


def _verdict(name: str, test: Test, value: object) -> int:
    """Return what a value of a property, None if an event does not set it, says of a test."""
    if value is None:
        return UNSET
    return HOLDS if test({name: value}) else FAILS
