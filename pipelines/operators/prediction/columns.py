"""The columns of a prediction: what it keeps of persons, and what its kernel writes.

Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.arithmetic import Float32s, Float64s
from pipelines.columnar.jit import Bools, Int32s, Int64s, StructArray, UInt32s, UInt64s
from pipelines.engine.row_kernels import ROWS
from schemas.operators.prediction import MAX_EVENTS, MAX_TIMES

ROW: Final = np.dtype(
    [
        ("slot", np.int32),  # the person
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
    ],
    align=True,
)

# ── the bits of an event's mask ──────────────────────────────────────────────────────────────────
ANY: Final = 0
GOAL: Final = 1
ASKS: Final = 2
FIRST_EVENT: Final = 3  # then come the steps, and the conditions: see `Shape`

# ── the numbers of a row ─────────────────────────────────────────────────────────────────────────
# Times are in ms and numbers of gaps in s. DECAYED are as of LAST, the time of the newest event;
# each `Kind` has a count, a decayed count as of LAST, and the time of the newest one. ASKED is the
# time of the newest trigger of the sample that came in the order of the person's times.
HALF_LIVES_MS: Final = (300_000, 3_600_000, 86_400_000, 604_800_000)
KIND_HALF_LIFE_MS: Final = 86_400_000
AMOUNT_HALF_LIFE_MS: Final = 604_800_000
SESSION_GAP_MS: Final = 1_800_000
KINDS: Final = 1 + MAX_EVENTS
(
    FIRST,
    LAST,
    PREVIOUS,
    COUNT,
    SESSIONS,
    SESSION_BEGIN,
    SESSION_DEPTH,
    DAYS,
    LAST_DAY,
    GAPS,
    GAP_MEAN,
    GAP_SQUARES,
    REACHED,
    ASKED,
    AMOUNT_DECAYED,
    AMOUNT_LAST,
    AMOUNT_AT,
    NUMBER,
    NUMBER_AT,
    CATEGORY,
    CATEGORY_AT,
    DECAYED,
) = range(22)
FIRST_KIND: Final = DECAYED + len(HALF_LIVES_MS)
KIND_COUNT, KIND_DECAYED, KIND_LAST, KIND_WORDS = range(4)
FIRST_TIME: Final = FIRST_KIND + KINDS * KIND_WORDS
UNSET: Final = -1e300  # a time that has not come, a number that was never set

# ── the numbers of a partition ───────────────────────────────────────────────────────────────────
# CLOCK is the time of the newest event, or when it came if that was before. The questions asked in
# the last BUCKETS spans of time are counted in a ring; NEWEST_BUCKET is the newest span's number.
BUCKETS: Final = 64
OPEN_BUCKETS: Final = 32  # the spans that the horizon and the lateness have
CLOCK: Final = ROWS + 1
NEWEST_BUCKET: Final = CLOCK + 1
FIRST_BUCKET: Final = NEWEST_BUCKET + 1
HEADS: Final = FIRST_BUCKET + BUCKETS

# ── what a batch is counted as ───────────────────────────────────────────────────────────────────
QUESTIONS, OUTCOMES, CAPPED, SAMPLED_OUT, LATE_TRIGGERS, COUNTS = range(6)


class Shape(NamedTuple):
    """What a definition comes down to, for the kernel."""

    horizon_ms: int
    open_ms: int  # horizon and lateness
    bucket_ms: int
    cap: int  # open questions of a partition
    kinds: int
    steps: int
    first_step: int  # its bit of the mask
    conditions: int
    first_condition: int  # its bit of the mask
    has_amount: int
    has_number: int
    categories: int  # 0, or columns of the category
    predicts_value: int
    clip: float


class Conditions(NamedTuple):
    """The conditions: a feature is 1 if `at_least` events lie within `within_ms`."""

    at_least: Int64s
    within_ms: Int64s


class PredictionEvents(NamedTuple):
    """An `EventBatch`, and what its events have set; NaN and 0 where they have nothing set.

    `clocks` are the times up to which they move the clock.
    """

    slots: Int32s
    at: Int64s
    masks: UInt32s
    offsets: Int64s
    clocks: Int64s
    sampled: Bools
    values: Float64s
    amounts: Float64s
    numbers: Float64s
    categories: UInt64s  # hashes


class Questions(NamedTuple):
    """Questions: of which row, at which offset and time (ms), and the features as of it.

    `clocks` are the partition's clock just before each.
    """

    rows: Int32s
    offsets: Int64s
    at: Int64s
    clocks: Int64s
    features: Float32s  # shape (n, features)

    @classmethod
    def none(cls, features: int) -> "Questions":
        """Return no questions, which would have this number of features."""
        times, rows = np.empty(0, np.int64), np.empty(0, np.int32)
        return cls(rows, times, times, times, np.empty((0, features), np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def cut(self, count: int) -> "Questions":
        """Return the first ones."""
        return Questions(
            self.rows[:count],
            self.offsets[:count],
            self.at[:count],
            self.clocks[:count],
            self.features[:count],
        )


class Outcomes(NamedTuple):
    """Events that may answer questions.

    `clocks` are the partition's clock just before each, so that it does not matter how events were
    cut into batches.
    """

    rows: Int32s
    offsets: Int64s
    at: Int64s
    values: Float64s
    clocks: Int64s

    @classmethod
    def none(cls) -> "Outcomes":
        """Return no outcomes."""
        times = np.empty(0, np.int64)
        return cls(np.empty(0, np.int32), times, times, np.empty(0), times)

    def __len__(self) -> int:
        return len(self.rows)

    def cut(self, count: int) -> "Outcomes":
        """Return the first ones."""
        return Outcomes(
            self.rows[:count],
            self.offsets[:count],
            self.at[:count],
            self.values[:count],
            self.clocks[:count],
        )


class PredictionColumns(NamedTuple):
    """All columns of one prediction in one partition; see `RowColumns`."""

    rows: StructArray
    words: Float64s
    flat: Float64s  # the same numbers in one dimension
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s
    counts: Int64s
    questions: Questions
    outcomes: Outcomes
    chosen: Int32s  # the features of a row, by their places among all
    every: Float64s  # room for all features of one person


def words_of(conditions: int) -> int:
    """Return how many numbers a row has."""
    return FIRST_TIME + conditions * MAX_TIMES
