"""The open questions of one definition and source partition.

A question is open until it is due: when the source partition's clock is past its time, the horizon
and the lateness together. No outcome that is in time can come after that.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Bools, Int64s, register_example
from pipelines.trainer import kernel
from pipelines.trainer.columns import UNANSWERED, OutcomeColumns, QuestionColumns
from schemas.examples.columns import (
    MAX_QUESTIONS,
    Float32s,
    Float64s,
    Outcomes,
    Questions,
    Task,
)

# Definitions ask less: 50,000 at a time on all partitions, and what comes with the record that
# makes some due.
MAX_OPEN: Final = 50_000 + MAX_QUESTIONS
_SPARE_ROWS: Final = 1_024


class DueQuestions(NamedTuple):
    """Questions that are due, by time and then offset; the columns have shape (n,).

    `values` are those of the answers, NaN for questions without one.
    """

    offsets: Int64s
    features: Float32s
    scores: Float64s
    versions: Int64s
    scorers: Int64s
    values: Float64s

    def filter(self, kept: Bools) -> "DueQuestions":
        """Return some of them."""
        return DueQuestions._make(column[kept] for column in self)


class OpenQuestions:
    """Takes in questions and outcomes, and gives out what is due, in order."""

    def __init__(self, task: Task, max_open: int = MAX_OPEN) -> None:
        self._horizon_ms = task.horizon_ms
        self._lateness_ms = task.lateness_ms
        self._wait_ms = task.horizon_ms + task.lateness_ms + 1
        self._earliest = task.target == "value"
        self._max_open = max_open
        self._columns = QuestionColumns.empty(len(task.features))
        self._size = 0  # rows that are used; those of questions that were due, too
        self._order = np.empty(0, np.int64)  # the rows of open questions, in order
        self._order_at = np.empty(0, np.int64)  # their times

    def __len__(self) -> int:
        return len(self._order)

    @property
    def nbytes(self) -> int:
        """The memory that they take in bytes, spare room included."""
        return self._columns.nbytes + self._order.nbytes + self._order_at.nbytes

    @property
    def first_record(self) -> int | None:
        """The offset of the first record with an open question, None if there is none."""
        return int(self._columns.records[self._order].min()) if len(self) else None

    @property
    def offsets(self) -> Int64s:
        """The source offsets of the open questions, in the order in which they are due."""
        return self._columns.offsets[self._order]

    def take_in(self, questions: Questions, version: int, record: int, scorer: int = 0) -> int:
        """Add questions whose offsets are above all earlier ones; return how many were dropped.

        They were scored by the model at place `scorer` of the task, at `version`, and are in the
        record at offset `record`.
        Where more than `max_open` would be open, those that are due first are dropped.
        """
        count = len(questions.offsets)
        if not count:
            return 0
        rows = self._add_rows(count)
        columns = self._columns
        columns.offsets[rows], columns.at[rows] = questions.offsets, questions.at
        columns.persons[rows], columns.features[rows] = questions.persons, questions.features
        columns.scores[rows], columns.versions[rows] = questions.scores, version
        columns.scorers[rows] = scorer
        columns.records[rows], columns.values[rows] = record, np.nan
        columns.answered_at[rows], columns.answers[rows] = UNANSWERED, UNANSWERED
        order = np.concatenate((self._order, np.arange(rows.start, rows.stop)))
        order_at = np.concatenate((self._order_at, questions.at))
        if (np.diff(order_at[len(self) - 1 if len(self) else 0 :]) < 0).any():
            # Stable: of questions at one time, the lower offsets are first already.
            sorted_ = np.argsort(order_at, kind="stable")
            order, order_at = order[sorted_], order_at[sorted_]
        dropped = max(0, len(order) - self._max_open)
        self._order, self._order_at = order[dropped:], order_at[dropped:]
        return dropped

    def answer(self, outcomes: Outcomes) -> int:
        """Answer questions; return how many outcomes came too late to answer any.

        Those are later than the lateness allows, and in the window of no question that was open
        when they came.
        """
        late = outcomes.at + self._lateness_ms < outcomes.clocks
        if not len(self):
            return int(late.sum())
        sorted_ = np.lexsort((outcomes.offsets, outcomes.at, outcomes.persons))
        columns = _sorted(outcomes, sorted_)
        windows = self._horizon_ms, self._wait_ms
        kernel.answer(self._columns, self._order, columns, *windows, int(self._earliest))
        if not late.any():
            return 0
        columns = _sorted(outcomes, sorted_[late[sorted_]])
        found = np.zeros(len(columns.persons), np.bool_)
        kernel.find_open(self._columns, self._order, columns, *windows, found)
        return int((~found).sum())

    def take_due(self, clock: int) -> DueQuestions:
        """Remove and return the questions that are due, in the order of their times."""
        count = int(np.searchsorted(self._order_at, clock - self._wait_ms, side="right"))
        columns = self._columns
        rows, self._order = self._order[:count], self._order[count:]
        self._order_at = self._order_at[count:]
        return DueQuestions(
            columns.offsets[rows],
            columns.features[rows],
            columns.scores[rows],
            columns.versions[rows],
            columns.scorers[rows],
            columns.values[rows],
        )

    def _add_rows(self, count: int) -> slice:
        if self._size > 2 * len(self) + _SPARE_ROWS:
            self._columns = self._columns.take(self._order)
            self._size = len(self)
            self._order = np.arange(self._size)
        begin, self._size = self._size, self._size + count
        self._columns = self._columns.grown(self._size)
        return slice(begin, self._size)


def _sorted(outcomes: Outcomes, rows: Int64s) -> OutcomeColumns:
    return OutcomeColumns(
        outcomes.persons[rows],
        outcomes.at[rows],
        outcomes.offsets[rows],
        outcomes.values[rows],
        outcomes.clocks[rows],
    )


@register_example
def _precompile() -> None:
    one, time = np.ones(1, np.int64), np.zeros(1, np.int64)
    persons = np.zeros(1, np.uint64)
    task = Task("p", "p", 1, 0, "value", 1, 0, ("m",), ("f",), "")
    open_questions = OpenQuestions(task)
    features = np.zeros((1, 1), np.float32)
    open_questions.take_in(Questions(time, time, persons, features, np.zeros(1)), 0, 0)
    open_questions.answer(Outcomes(one, time, persons, np.ones(1), one))
