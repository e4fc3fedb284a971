"""The state of one prediction in one partition."""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.dictionary import Value
from pipelines.columnar.jit import Int32s, Int64s, UInt64s, register_example
from pipelines.engine.constants import NEVER
from pipelines.engine.fixed_rows import FixedRows
from pipelines.engine.operator import FoldResult
from pipelines.engine.row_kernels import COUNTERS, DIRTY, EventBatch
from pipelines.matching.match import Masks, Values, dictionary_column, value_hashes
from pipelines.operators.prediction import columns as pc
from pipelines.operators.prediction.columns import (
    Conditions,
    Outcomes,
    PredictionColumns,
    PredictionEvents,
    Questions,
    Shape,
)
from pipelines.operators.prediction.kernel import advance_buckets, fold
from schemas.event_filter import EventFilter
from schemas.operators.prediction import (
    Prediction,
    RecentlyPerformed,
    all_features_of,
    features_of,
)
from schemas.value_tokens import token

MAX_OPEN: Final = 50_000  # questions of all partitions of a deployment
_MAX_NUMBER: Final = 1e100  # more would overflow what learns it
_NOT_SET: Final = (token(None),)


class PredictionChanges(NamedTuple):
    """What a batch asked and answered, and what it did not ask.

    `clock` is the partition's clock after it (ms).
    """

    questions: Questions
    outcomes: Outcomes
    capped: int
    sampled_out: int
    late_triggers: int
    clock: int


class PredictionState(FixedRows):
    """What is known of persons, as features need it.

    The bits of an event's mask and `values` are in the order of `selectors_of` and
    `reads_of`. Changes are the caller's own.
    """

    def __init__(self, prediction: Prediction, max_open: int = MAX_OPEN) -> None:
        """Make an empty state, which has up to `max_open` open questions."""
        super().__init__(pc.ROW, pc.HEADS, (), pc.words_of(len(prediction.conditions)), np.float64)
        self.heads[pc.CLOCK] = NEVER
        self.shape = _shape_of(prediction, max_open)
        self._prediction = prediction
        every, names = all_features_of(prediction), features_of(prediction)
        self._chosen = np.array([every.index(name) for name in names], np.int32)
        self._every = np.zeros(len(every))
        self._conditions = Conditions(
            np.array([one.at_least for one in prediction.conditions], np.int64),
            np.array([1_000 * one.within_s for one in prediction.conditions], np.int64),
        )
        self._counters = np.zeros(COUNTERS, np.int64)
        self._open: Int64s | None = None  # as published, until the state is restored

    def set_max_open(self, count: int) -> None:
        """Set how many questions may be open, before the first event."""
        self.shape = self.shape._replace(cap=count)

    @property
    def clock(self) -> int | None:
        """The time of the newest event (ms), None before the first."""
        clock = int(self.heads[pc.CLOCK])
        return None if clock == NEVER else clock

    @property
    def open_questions(self) -> list[int]:
        """The newest span of time, and how many questions were asked in each of the last spans."""
        return [int(number) for number in self.heads[pc.NEWEST_BUCKET :]]

    @property
    def open_until(self) -> int:
        """A time (ms) by which all questions that were asked are due; NEVER without any."""
        newest = int(self.heads[pc.NEWEST_BUCKET])
        counted = [
            number
            for number in range(max(newest - pc.BUCKETS + 1, 0), newest + 1)
            if self.heads[pc.FIRST_BUCKET + number % pc.BUCKETS]
        ]
        if not counted:
            return NEVER
        return (max(counted) + 1) * int(self.shape.bucket_ms) + int(self.shape.open_ms) + 1

    def nothing(self, clock: int) -> PredictionChanges:
        """Return that nothing was asked or answered up to a clock (ms)."""
        questions = Questions(
            *_room(0), np.empty(0, np.int64), np.empty((0, len(self._chosen)), np.float32)
        )
        outcomes = Outcomes(*_room(0), np.empty(0), np.empty(0, np.int64))
        return PredictionChanges(questions, outcomes, 0, 0, 0, clock)

    def load_open_questions(self, numbers: list[int]) -> None:
        """Continue from published `open_questions` as soon as the state is restored."""
        self._open = np.array(numbers, np.int64)

    def restored(self, clock: int | None = None) -> None:
        """End restoring: from now on every event counts."""
        super().restored(clock)
        self.heads[pc.CLOCK] = NEVER if clock is None else clock
        if self._open is not None:
            self.heads[pc.NEWEST_BUCKET :] = self._open
            self._open = None
        if clock is not None:  # events since then that asked nothing have advanced it
            advance_buckets(self.shape, self.heads, np.int64(clock))

    @property
    def published_persons(self) -> Int32s:
        """Persons who may have a score: those who may have been asked about."""
        rows = np.flatnonzero(self.words[: self.size, pc.ASKED] != pc.UNSET)
        return self.persons_of(rows.astype(np.int32))

    def rewind(self) -> None:
        """Turn the clock back to the beginning."""
        self.heads[pc.CLOCK :] = 0
        self.heads[pc.CLOCK] = NEVER

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
    ) -> FoldResult[PredictionChanges]:
        """Fold events in order of arrival; see `PersonState.fold`.

        `clocks` are the times (ms) up to which the events move the clock: by default their own.
        """
        self.reserve(persons, len(at))
        self._counters[:] = 0
        dirty = np.empty(len(at), np.int32)
        counts = np.zeros(pc.COUNTS, np.int64)
        asks = int(np.count_nonzero(masks >> pc.ASKS & 1))
        goals = int(np.count_nonzero(masks >> pc.GOAL & 1))
        columns = PredictionColumns(
            self.rows,
            self.words,
            self.words.reshape(-1),
            self.heads,
            self._counters,
            self.row_of,
            self.stamps,
            dirty,
            counts,
            Questions(
                *_room(asks),
                np.empty(asks, np.int64),
                np.empty((asks, len(self._chosen)), np.float32),
            ),
            Outcomes(*_room(goals), np.empty(goals), np.empty(goals, np.int64)),
            self._chosen,
            self._every,
        )
        batch = EventBatch(slots, at, masks, offsets)
        events = self._events(batch, at if clocks is None else clocks, values)
        fold(self.shape, self._conditions, columns, events)
        newly_dirty = self.touch(dirty[: self._counters[DIRTY]])
        changes = PredictionChanges(
            columns.questions.cut(int(counts[pc.QUESTIONS])),
            columns.outcomes.cut(int(counts[pc.OUTCOMES])),
            int(counts[pc.CAPPED]),
            int(counts[pc.SAMPLED_OUT]),
            int(counts[pc.LATE_TRIGGERS]),
            int(self.heads[pc.CLOCK]),
        )
        return FoldResult(changes, newly_dirty, 0)

    def _events(self, batch: EventBatch, clocks: Int64s, values: Values) -> PredictionEvents:
        of, columns = self._prediction, iter(values)
        count = len(clocks)

        def numbers(name: str | None) -> Float64s:
            if name is None:
                return np.full(count, np.nan)
            read: Float64s = dictionary_column(next(columns)).each(_number, np.float64)
            return read

        asked, amounts, last = numbers(of.value), numbers(of.amount), numbers(of.property)
        categories: UInt64s = np.zeros(count, np.uint64)
        if of.category is not None:
            hashes = value_hashes(next(columns))
            is_set = hashes.tokens.each(lambda tokens: tokens != _NOT_SET, np.bool_)
            categories = np.where(is_set, hashes.numbers, np.uint64(0))
        sampled = np.ones(count, np.bool_)
        if of.sample < 1:
            sampled = value_hashes(next(columns)).numbers < np.uint64(of.sample * 2.0**64)
        return PredictionEvents(*batch, clocks, sampled, asked, amounts, last, categories)

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels; takes seconds the first time on a machine."""
        goal = EventFilter("a")
        state = cls(Prediction(goal=goal, within_s=1, conditions=(RecentlyPerformed(goal, 1),)))
        at = np.zeros(1, np.int64)
        state.fold(1, np.zeros(1, np.int32), at, np.full(1, 7, np.uint32), at)
        state.restored(0)


def _room(count: int) -> tuple[Int32s, Int64s, Int64s]:
    return np.empty(count, np.int32), np.empty(count, np.int64), np.empty(count, np.int64)


def _shape_of(of: Prediction, max_open: int) -> Shape:
    horizon_ms = 1_000 * of.within_s
    open_ms = horizon_ms + 1_000 * of.lateness_s
    return Shape(
        horizon_ms=horizon_ms,
        open_ms=open_ms,
        bucket_ms=-(-open_ms // pc.OPEN_BUCKETS),
        cap=max_open,
        kinds=1 + len(of.events),
        steps=len(of.steps),
        first_step=pc.FIRST_EVENT + len(of.events),
        conditions=len(of.conditions),
        first_condition=pc.FIRST_EVENT + len(of.events) + len(of.steps),
        has_amount=int(of.amount is not None),
        has_number=int(of.property is not None),
        categories=0 if of.category is None else 1 << of.category_bits,
        predicts_value=int(of.target == "value"),
        clip=of.clip,
    )


def _number(value: Value) -> float:
    """Return a value that is a number of up to 1e100, NaN for any other."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return np.nan
    return float(value) if abs(value) <= _MAX_NUMBER else np.nan


register_example(PredictionState.precompile)
