"""The columns of open questions."""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int64s, UInt64s
from schemas.examples.columns import Float32s, Float64s

UNANSWERED: Final = 2**62  # as `answered_at`, later than any time (ms)
# As the scorer of a question of history: the champion as of when it was asked.
TRAINER: Final = -1
FORFEITED: Final = -1e200  # as the score of a question that a former champion has scored
SERVED: Final = 2**62  # as `score_at`: the question was scored when it was asked


class QuestionColumns(NamedTuple):
    """Questions in any order; the columns have shape (n,), `features` (n, features).

    `scorers` are the places of the models that scored, among those of the task.
    `records` are the offsets of the records of `avila.examples` that the questions are in. The
    answer is the earliest outcome so far: its time, its offset and its value. `score_at` is the
    time (ms) at which the trainer scores a question of history.
    """

    offsets: Int64s
    at: Int64s
    persons: UInt64s
    features: Float32s
    scores: Float64s
    versions: Int64s
    scorers: Int64s
    records: Int64s
    answered_at: Int64s
    answers: Int64s
    values: Float64s
    score_at: Int64s

    @classmethod
    def empty(cls, features: int) -> "QuestionColumns":
        """Return columns without rows."""
        longs, doubles = np.empty(0, np.int64), np.empty(0)
        return cls(
            offsets=longs,
            at=longs,
            persons=np.empty(0, np.uint64),
            features=np.empty((0, features), np.float32),
            scores=doubles,
            versions=longs,
            scorers=longs,
            records=longs,
            answered_at=longs,
            answers=longs,
            values=doubles,
            score_at=longs,
        )

    def grown(self, least: int) -> "QuestionColumns":
        """Return columns with room for `least` rows; use these no more."""
        return QuestionColumns._make(grown(column, least) for column in self)

    def take(self, rows: Int64s) -> "QuestionColumns":
        """Return copies of some rows."""
        return QuestionColumns._make(column[rows] for column in self)

    @property
    def nbytes(self) -> int:
        """The memory that they take in bytes, spare room included."""
        return sum(column.nbytes for column in self)


class OutcomeColumns(NamedTuple):
    """Outcomes, ascending by person, then time, then offset; the columns have shape (m,)."""

    persons: UInt64s
    at: Int64s
    offsets: Int64s
    values: Float64s
    clocks: Int64s
