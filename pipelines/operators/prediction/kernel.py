"""The prediction fold: events into a person's numbers, questions and outcomes out of them.

An event that comes in the order of a person's times moves all of their numbers. One that is older
than their newest event counts only where a number does not depend on the order: counts, decayed
counts, the first and the newest of something. What was asked before is never rewritten.

A question is asked by the newest event of a person only. So no event that came before it can answer
it, and an outcome is worth emitting only within the horizon of a person's last trigger. A trigger
counts there even if it came too late to ask, or if too many questions were open: a person's numbers
depend on the person's own events alone, so that they are the same after any restart.

The clock of a partition is the time of its newest event that the definition sees; an event that is
dated ahead of the time of day moves it no further than that. It decides, with
the questions counted by spans of time, whether one more question may be open: a fold of the log,
however that is cut into batches.
"""

from typing import Final

import numpy as np

from pipelines.columnar.arithmetic import Float, Float64s, half_to
from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.engine.constants import DAY_MS, NONE
from pipelines.engine.row_kernels import add_row, contains, mark_dirty, take_place
from pipelines.operators.prediction import columns as pc
from pipelines.operators.prediction.columns import (
    Conditions,
    PredictionColumns,
    PredictionEvents,
    Shape,
)
from pipelines.operators.prediction.features import write_features
from schemas.operators.prediction import MAX_TIMES

_CACHE_LINE: Final = 8  # numbers


@kernel
def fold(
    shape: Shape, conditions: Conditions, columns: PredictionColumns, events: PredictionEvents
) -> None:
    """Fold events. Rows and words must have room for one more per event.

    `questions` and `outcomes` must have room for one per event that asks, or that passes the goal.
    """
    for i in range(len(events.slots)):
        _prefetch_ahead(columns, events.slots, i)
        row = np.int64(columns.row_of[events.slots[i]])
        if row == NONE:
            row = add_row(columns, events.slots[i])
            _begin(columns.words[row])
        if contains(columns, row, events.offsets[i]):
            continue
        mark_dirty(columns, row)
        words, at, mask = columns.words[row], events.at[i], events.masks[i]
        clock = columns.heads[pc.CLOCK]
        _advance_clock(shape, columns.heads, events.clocks[i])
        in_order = at >= words[pc.LAST]
        _take_event(shape, words, at, mask, in_order)
        _take_values(shape, words, events, i)
        _take_times(shape, words, at, mask)
        if mask >> pc.GOAL & 1:
            _answer(shape, columns, events, i, row, clock)
        if mask >> pc.ASKS & 1:
            _ask(shape, conditions, columns, events, i, row, in_order, clock)


@kernel
def _prefetch_ahead(columns: PredictionColumns, slots: Int32s, i: Int) -> None:
    """Start loading the numbers of the person some events ahead."""
    if i + FAR < len(slots):
        prefetch(columns.row_of, slots[i + FAR])
    if i + NEAR < len(slots):
        row = np.int64(columns.row_of[slots[i + NEAR]])
        prefetch(columns.rows, row)
        for place in range(0, columns.words.shape[1], _CACHE_LINE):
            prefetch(columns.flat, row * columns.words.shape[1] + place)


@kernel
def _begin(words: Float64s) -> None:
    words[:] = 0.0
    for place in (pc.FIRST, pc.LAST, pc.PREVIOUS, pc.LAST_DAY, pc.ASKED):
        words[place] = pc.UNSET
    for place in (pc.AMOUNT_AT, pc.NUMBER_AT, pc.CATEGORY_AT):
        words[place] = pc.UNSET
    for kind in range(pc.KINDS):
        words[pc.FIRST_KIND + kind * pc.KIND_WORDS + pc.KIND_LAST] = pc.UNSET
    words[pc.FIRST_TIME :] = pc.UNSET


# ── the partition's clock, and the questions that may be open ────────────────────────────────────


@kernel
def _advance_clock(shape: Shape, heads: Int64s, at: Int) -> None:
    """Advance the clock to an event's time."""
    if at <= heads[pc.CLOCK]:
        return
    heads[pc.CLOCK] = at
    advance_buckets(shape, heads, at)


@kernel
def advance_buckets(shape: Shape, heads: Int64s, at: Int) -> None:
    """Empty the spans of time that begin up to a time, and were not counted before."""
    bucket = at // shape.bucket_ms
    begin = max(heads[pc.NEWEST_BUCKET] + 1, bucket - pc.BUCKETS + 1)
    for number in range(begin, bucket + 1):
        heads[pc.FIRST_BUCKET + number % pc.BUCKETS] = 0
    heads[pc.NEWEST_BUCKET] = max(heads[pc.NEWEST_BUCKET], bucket)


@kernel
def _open(heads: Int64s) -> Int:
    """Return how many questions are open, to the span of time."""
    newest = heads[pc.NEWEST_BUCKET]
    total = np.int64(0)
    for number in range(newest - pc.OPEN_BUCKETS, newest + 1):
        total += heads[pc.FIRST_BUCKET + number % pc.BUCKETS]
    return total


# ── a person's numbers ───────────────────────────────────────────────────────────────────────────


@kernel
def _take_event(shape: Shape, words: Float64s, at: Int, mask: Int, in_order: Int) -> None:
    """Take an event into the counts and, if it came in order, into all that depends on it."""
    last = words[pc.LAST]
    words[pc.COUNT] += 1.0
    if last == pc.UNSET:
        words[pc.FIRST] = at
    words[pc.FIRST] = min(words[pc.FIRST], np.float64(at))
    if in_order:
        _take_in_order(shape, words, at, mask)
    newest = words[pc.LAST]
    elapsed = 0.0 if last == pc.UNSET else newest - last
    for n in range(len(pc.HALF_LIVES_MS)):
        half_life = np.float64(pc.HALF_LIVES_MS[n])
        decayed = words[pc.DECAYED + n] * half_to(elapsed / half_life)
        words[pc.DECAYED + n] = decayed + half_to((newest - at) / half_life)
    for kind in range(shape.kinds):
        place = pc.FIRST_KIND + kind * pc.KIND_WORDS
        bit = pc.GOAL if kind == 0 else pc.FIRST_EVENT + kind - 1
        half_life = np.float64(pc.KIND_HALF_LIFE_MS)
        words[place + pc.KIND_DECAYED] *= half_to(elapsed / half_life)
        if mask >> bit & 1:
            words[place + pc.KIND_COUNT] += 1.0
            words[place + pc.KIND_DECAYED] += half_to((newest - at) / half_life)
            words[place + pc.KIND_LAST] = max(words[place + pc.KIND_LAST], np.float64(at))
    if shape.has_amount:
        words[pc.AMOUNT_DECAYED] *= half_to(elapsed / pc.AMOUNT_HALF_LIFE_MS)


@kernel
def _take_in_order(shape: Shape, words: Float64s, at: Int, mask: Int) -> None:
    """Take an event that is not older than the person's newest one into gaps, sessions, days."""
    last = words[pc.LAST]
    words[pc.PREVIOUS] = last
    words[pc.LAST] = at
    day = np.float64(at // DAY_MS)
    if day > words[pc.LAST_DAY]:
        words[pc.DAYS] += 1.0
        words[pc.LAST_DAY] = day
    if last == pc.UNSET or at - last > pc.SESSION_GAP_MS:
        words[pc.SESSIONS] += 1.0
        words[pc.SESSION_BEGIN] = at
        words[pc.SESSION_DEPTH] = 0.0
        words[pc.REACHED] = 0.0
    words[pc.SESSION_DEPTH] += 1.0
    reached = np.int64(words[pc.REACHED])
    if reached < shape.steps and mask >> (shape.first_step + reached) & 1:
        words[pc.REACHED] += 1.0
    if last != pc.UNSET:
        _take_gap(words, (at - last) / 1_000.0)


@kernel
def _take_gap(words: Float64s, gap: Float) -> None:
    """Take a gap (s) into their mean and the sum of squares of their differences from it.

    Welford, Note on a method for calculating corrected sums of squares and products (1962).
    """
    words[pc.GAPS] += 1.0
    before = gap - words[pc.GAP_MEAN]
    words[pc.GAP_MEAN] += before / words[pc.GAPS]
    words[pc.GAP_SQUARES] += before * (gap - words[pc.GAP_MEAN])


@kernel
def _take_values(shape: Shape, words: Float64s, events: PredictionEvents, i: Int) -> None:
    """Take what an event has set: the newest wins, of several at one time the last to come."""
    at = np.float64(events.at[i])
    amount, number = events.amounts[i], events.numbers[i]
    if shape.has_amount and amount == amount:  # noqa: PLR0124 (it is not NaN)
        words[pc.AMOUNT_DECAYED] += amount * half_to((words[pc.LAST] - at) / pc.AMOUNT_HALF_LIFE_MS)
        if at >= words[pc.AMOUNT_AT]:
            words[pc.AMOUNT_LAST], words[pc.AMOUNT_AT] = amount, at
    if shape.has_number and number == number and at >= words[pc.NUMBER_AT]:  # noqa: PLR0124 (it is not NaN)
        words[pc.NUMBER], words[pc.NUMBER_AT] = number, at
    category = events.categories[i]
    if shape.categories and category != 0 and at >= words[pc.CATEGORY_AT]:
        column = np.float64(category % np.uint64(shape.categories)) + 1.0
        sign = 1.0 if category >> np.uint64(63) else -1.0
        words[pc.CATEGORY], words[pc.CATEGORY_AT] = sign * column, at


@kernel
def _take_times(shape: Shape, words: Float64s, at: Int, mask: Int) -> None:
    """Insert an event's time into those of the conditions that it passes, the newest first."""
    for one in range(shape.conditions):
        if mask >> (shape.first_condition + one) & 1:
            moved = np.float64(at)
            begin = pc.FIRST_TIME + one * MAX_TIMES
            for place in range(begin, begin + MAX_TIMES):
                if moved > words[place]:
                    moved, words[place] = words[place], moved


# ── questions and outcomes ───────────────────────────────────────────────────────────────────────


@kernel
def _answer(
    shape: Shape, columns: PredictionColumns, events: PredictionEvents, i: Int, row: Int, clock: Int
) -> None:
    """Emit an outcome, if it can answer a question that the person's events have asked."""
    words, at, value = columns.words[row], events.at[i], events.values[i]
    if at > words[pc.ASKED] + shape.horizon_ms:
        return
    if shape.predicts_value and value != value:  # noqa: PLR0124 (it has no number)
        return
    outcomes = columns.outcomes
    place = take_place(columns.counts, pc.OUTCOMES)
    outcomes.rows[place] = row
    outcomes.offsets[place] = events.offsets[i]
    outcomes.at[place] = at
    outcomes.values[place] = value if shape.predicts_value else 1.0
    outcomes.clocks[place] = clock


@kernel
def _ask(
    shape: Shape,
    conditions: Conditions,
    columns: PredictionColumns,
    events: PredictionEvents,
    i: Int,
    row: Int,
    in_order: Int,
    clock: Int,
) -> None:
    """Ask a question, unless it is not in the sample, comes too late, or too many are open."""
    words, heads, at = columns.words[row], columns.heads, events.at[i]
    if in_order and events.sampled[i]:
        words[pc.ASKED] = at
    if not in_order or at + shape.open_ms < heads[pc.CLOCK]:
        columns.counts[pc.LATE_TRIGGERS] += 1
        return
    if not events.sampled[i]:
        columns.counts[pc.SAMPLED_OUT] += 1
        return
    if _open(heads) >= shape.cap:
        columns.counts[pc.CAPPED] += 1
        return
    bucket = min(at, heads[pc.CLOCK]) // shape.bucket_ms
    heads[pc.FIRST_BUCKET + bucket % pc.BUCKETS] += 1
    write_features(shape, conditions, words, at, columns.every)
    questions = columns.questions
    place = take_place(columns.counts, pc.QUESTIONS)
    questions.rows[place] = row
    questions.offsets[place] = events.offsets[i]
    questions.at[place] = at
    questions.clocks[place] = clock
    for n in range(len(columns.chosen)):
        questions.features[place, n] = columns.every[columns.chosen[n]]
