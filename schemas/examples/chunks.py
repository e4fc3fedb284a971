"""Cuts the questions and outcomes of a batch into records that a topic takes."""

from collections.abc import Iterator

import numpy as np

from schemas.examples.columns import (
    MAX_FEATURE_BYTES,
    MAX_OUTCOMES,
    MAX_QUESTIONS,
    Examples,
    NotAsked,
    Outcomes,
    Questions,
)


def chunks(examples: Examples) -> Iterator[Examples]:
    """Yield a batch as records, in order, none of which is larger than a record may be.

    They are cut by offset, so that no outcome comes before the questions that it can answer. The
    position of each record but the last is that after its last item, its clock that just before
    this item. Whoever folds the records learns
    the same as from one that holds all. The last has the counts.
    """
    most = min(MAX_QUESTIONS, MAX_FEATURE_BYTES // max(4 * examples.questions.features.shape[1], 1))
    at_question = at_outcome = 0
    while True:
        questions = examples.questions.rows(at_question, at_question + most)
        outcomes = examples.outcomes.rows(at_outcome, at_outcome + MAX_OUTCOMES)
        ends = [
            int(columns.offsets[-1]) + 1
            for columns, whole, begin in (
                (questions, examples.questions, at_question),
                (outcomes, examples.outcomes, at_outcome),
            )
            if begin + len(columns.offsets) < len(whole.offsets)
        ]
        if not ends:
            yield examples._replace(questions=questions, outcomes=outcomes)
            return
        end = min(ends)
        questions = questions.rows(0, int(np.searchsorted(questions.offsets, end)))
        outcomes = outcomes.rows(0, int(np.searchsorted(outcomes.offsets, end)))
        yield examples._replace(
            position=end,
            clock=_last_clock(questions, outcomes),
            questions=questions,
            outcomes=outcomes,
            not_asked=NotAsked(),
            ended=False,
        )
        at_question += len(questions.offsets)
        at_outcome += len(outcomes.offsets)


def _last_clock(questions: Questions, outcomes: Outcomes) -> int:
    """Return the clock just before the last of some questions and outcomes, at least one."""
    return max(int(clocks.max()) for clocks in (questions.clocks, outcomes.clocks) if len(clocks))
