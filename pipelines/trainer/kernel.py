"""Matches outcomes with open questions.

An outcome answers a question of the same person if it came after it in the source partition, lies
in the window that begins with the question, and came before the question was due. Of several the
earliest by time answers, of those at one time the first to come.
"""

import numpy as np

from pipelines.columnar.jit import Bools, Int, Int64s, kernel
from pipelines.trainer.columns import UNANSWERED, OutcomeColumns, QuestionColumns


@kernel
def answer(
    questions: QuestionColumns,
    rows: Int64s,
    outcomes: OutcomeColumns,
    horizon_ms: Int,
    wait_ms: Int,
    earliest: Int,
) -> None:
    """Answer the questions `rows`, which are due `wait_ms` after they were asked.

    Unless `earliest` is set, a question keeps the answer that it has.
    """
    for i in range(len(rows)):
        row = rows[i]
        if questions.answered_at[row] != UNANSWERED and not earliest:
            continue
        at = questions.at[row]
        place = _first(outcomes, questions.persons[row], at)
        while place < len(outcomes.persons) and _in_window(
            questions, row, outcomes, place, horizon_ms
        ):
            if _answers(questions, row, outcomes, place, wait_ms):
                _set_earliest(questions, row, outcomes, place)
                break
            place += 1


@kernel
def find_open(
    questions: QuestionColumns,
    rows: Int64s,
    outcomes: OutcomeColumns,
    horizon_ms: Int,
    wait_ms: Int,
    found: Bools,
) -> None:
    """Set `found` for each outcome that can answer a question of `rows`, answered or not."""
    for i in range(len(rows)):
        row = rows[i]
        place = _first(outcomes, questions.persons[row], questions.at[row])
        while place < len(outcomes.persons) and _in_window(
            questions, row, outcomes, place, horizon_ms
        ):
            if _answers(questions, row, outcomes, place, wait_ms):
                found[place] = True
            place += 1


@kernel
def _first(outcomes: OutcomeColumns, person: Int, at: Int) -> Int:
    """Return the place of a person's first outcome at or after a time, or where it would be."""
    begin, end = np.int64(0), np.int64(len(outcomes.persons))
    while begin < end:
        middle = (begin + end) // 2
        other = outcomes.persons[middle]
        if other < person or (other == person and outcomes.at[middle] < at):
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel
def _in_window(
    questions: QuestionColumns, row: Int, outcomes: OutcomeColumns, place: Int, horizon_ms: Int
) -> Int:
    return (
        outcomes.persons[place] == questions.persons[row]
        and outcomes.at[place] <= questions.at[row] + horizon_ms
    )


@kernel
def _answers(
    questions: QuestionColumns, row: Int, outcomes: OutcomeColumns, place: Int, wait_ms: Int
) -> Int:
    return (
        outcomes.offsets[place] > questions.offsets[row]
        and outcomes.clocks[place] < questions.at[row] + wait_ms
    )


@kernel
def _set_earliest(
    questions: QuestionColumns, row: Int, outcomes: OutcomeColumns, place: Int
) -> None:
    at, offset = outcomes.at[place], outcomes.offsets[place]
    known_at = questions.answered_at[row]
    if at < known_at or (at == known_at and offset < questions.answers[row]):
        questions.answered_at[row] = at
        questions.answers[row] = offset
        questions.values[row] = outcomes.values[place]
