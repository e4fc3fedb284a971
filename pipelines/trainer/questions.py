"""The open questions of one definition and source partition.

A question is due when the source partition's clock is past its time, the horizon and the lateness
together. No outcome that is in time can come after that. It is open until it is taken to be
learned, which can be later: see `pipelines.trainer.source_clocks`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Bools, Int64s, register_example
from pipelines.trainer import kernel
from pipelines.trainer.columns import (
    FORFEITED,
    SERVED,
    TRAINER,
    UNANSWERED,
    OutcomeColumns,
    QuestionColumns,
)
from schemas.examples.columns import (
    MAX_QUESTIONS,
    Float32s,
    Float64s,
    Outcomes,
    Questions,
    Task,
)

# Definitions ask less: 50,000 at a time on all partitions, and what comes with the record that
# makes some due. Those that are due and wait for other partitions come on top.
MAX_ASKED: Final = 50_000 + MAX_QUESTIONS
# A bound is a part of the fold: with another one, models of the same log would differ.
_MAX_WAITING_BYTES: Final = 32 << 20
_COLUMN_BYTES: Final = 88  # of a question, features aside
_SPARE_ROWS: Final = 1_024


def max_waiting_of(features: int) -> int:
    """Return how many questions with so many features may wait for other source partitions."""
    return _MAX_WAITING_BYTES // (4 * features + _COLUMN_BYTES)


class DueQuestions(NamedTuple):
    """Questions that are due, in the order in which to learn them; the columns have shape (n,).

    `keys` name them among the open questions, `due_at` are the times (ms) when they were due, and
    `values` those of the answers, NaN for questions without one.
    """

    keys: Int64s
    due_at: Int64s
    offsets: Int64s
    features: Float32s
    scores: Float64s
    versions: Int64s
    scorers: Int64s
    values: Float64s
    score_at: Int64s

    def filter(self, kept: Bools | Int64s) -> "DueQuestions":
        """Return some of them, or all in another order."""
        return DueQuestions._make(column[kept] for column in self)

    @staticmethod
    def concatenate(parts: Sequence["DueQuestions"]) -> "DueQuestions":
        """Return the questions of all parts, one part after the other."""
        return DueQuestions._make(map(np.concatenate, zip(*parts, strict=True)))


class UnscoredQuestions(NamedTuple):
    """Questions of history that the trainer scores as of `score_at` (ms); columns as above."""

    keys: Int64s
    score_at: Int64s
    features: Float32s


class OpenQuestions:
    """Takes in questions and outcomes, and gives out what is due, in order."""

    def __init__(self, task: Task, max_open: int = MAX_ASKED) -> None:
        self._horizon_ms = task.horizon_ms
        self._lateness_ms = task.lateness_ms
        self._wait_ms = task.horizon_ms + task.lateness_ms + 1
        self._earliest = task.target == "value"
        self._max_open = max_open
        self._columns = QuestionColumns.empty(len(task.features))
        self._size = 0  # rows that are used; those of questions that were due, too
        self._order = np.empty(0, np.int64)  # the rows of open questions, in order
        self._order_at = np.empty(0, np.int64)  # their times
        self._last_score_at = -SERVED  # the trainer has to score none later than this
        self._history_record = -1  # the last record of history

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

    def take_in(
        self,
        questions: Questions,
        version: int,
        record: int,
        scorer: int = 0,
        *,
        history: bool = False,
    ) -> int:
        """Add questions whose offsets are above all earlier ones; return how many were dropped.

        They were scored by the model at place `scorer` of the task, at `version`, and are in the
        record at offset `record`.
        Those of `history` have no score yet: the trainer scores them as of when they were asked.
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
        columns.scorers[rows] = TRAINER if history else scorer
        columns.records[rows], columns.values[rows] = record, np.nan
        columns.answered_at[rows], columns.answers[rows] = UNANSWERED, UNANSWERED
        columns.score_at[rows] = SERVED
        if history:
            score_at = np.maximum(questions.at, questions.clocks)
            columns.score_at[rows], columns.scores[rows] = score_at, np.nan
            self._last_score_at = max(self._last_score_at, int(score_at.max()))
            self._history_record = record
        order = np.concatenate((self._order, np.arange(rows.start, rows.stop)))
        order_at = np.concatenate((self._order_at, questions.at))
        if (np.diff(order_at[len(self) - 1 if len(self) else 0 :]) < 0).any():
            # Stable: of questions at one time, the lower offsets are first already.
            sorted_ = np.argsort(order_at, kind="stable")
            order, order_at = order[sorted_], order_at[sorted_]
        dropped = max(0, len(order) - self._max_open)
        self._order, self._order_at = order[dropped:], order_at[dropped:]
        return dropped

    def in_time(self, questions: Questions, clock: int) -> Questions:
        """Return those of some questions that are not due by a clock already."""
        early = questions.at + self._wait_ms > clock
        return questions if early.all() else Questions._make(column[early] for column in questions)

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

    def take_due(self, limit: int) -> DueQuestions:
        """Remove and return the questions that are due by a clock, in the order of their times."""
        count = self._count_due(limit)
        columns = self._columns
        rows, self._order = self._order[:count], self._order[count:]
        self._order_at = self._order_at[count:]
        return DueQuestions(
            rows,
            columns.at[rows] + self._wait_ms,
            columns.offsets[rows],
            columns.features[rows],
            columns.scores[rows],
            columns.versions[rows],
            columns.scorers[rows],
            columns.values[rows],
            columns.score_at[rows],
        )

    def due_between(self, limit: int, clock: int) -> Int64s:
        """Return when those were due that are due by `clock`, and not by `limit`, in order."""
        return self._order_at[self._count_due(limit) : self._count_due(clock)] + self._wait_ms

    def unscored(self, since: int, limit: int, record: int) -> UnscoredQuestions:
        """Return what is to be scored as of times up to `limit` (ms).

        All up to `since` are scored already, but for those that the record at offset `record` has
        added.
        """
        columns, rows = self._columns, self._order[:0]
        if self._last_score_at > since or self._history_record == record:
            score_at, records = columns.score_at[self._order], columns.records[self._order]
            rows = self._order[(score_at <= limit) & ((score_at > since) | (records == record))]
        return UnscoredQuestions(rows, columns.score_at[rows], columns.features[rows])

    def set_scores(self, keys: Int64s, scores: Float64s) -> None:
        """Set the scores of questions that `unscored` has returned since the last `take_in`."""
        self._columns.scores[keys] = scores

    def forfeit(self, limit: int) -> None:
        """Let the scores that a former champion has given as of times up to `limit` not count."""
        self._columns.scores[self.scored_by_trainer(limit)] = FORFEITED

    def scored_by_trainer(self, limit: int) -> Int64s:
        """Return the keys of the open questions that were scored as of times up to `limit`."""
        if self._last_score_at == -SERVED:
            return self._order[:0]
        return self._order[self._columns.score_at[self._order] <= limit]

    def scores_of(self, keys: Int64s) -> Float64s:
        """Return the scores of some open questions."""
        return self._columns.scores[keys]

    def _count_due(self, clock: int) -> int:
        return int(np.searchsorted(self._order_at, clock - self._wait_ms, side="right"))

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
    open_questions.take_in(Questions(time, time, persons, features, np.zeros(1), time), 0, 0)
    open_questions.answer(Outcomes(one, time, persons, np.ones(1), one))
