"""Merges what several source partitions have to learn into one order, that of time."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.trainer.learner import Asked
from pipelines.trainer.questions import DueQuestions, UnscoredQuestions
from schemas.examples.columns import Float64s

_KEYS: Final = 1 << 40  # more than the open questions of a source partition


class Step(NamedTuple):
    """What one source partition has to learn, and what it asked meanwhile."""

    number: int
    due: DueQuestions
    unscored: UnscoredQuestions


def merged(steps: Sequence[Step]) -> tuple[Int64s, DueQuestions]:
    """Return what is due, by due time, partition and offset, and the partition of each.

    `keys` are those of `asked_of`, which differ between source partitions.
    """
    due = DueQuestions.concatenate(
        [step.due._replace(keys=step.due.keys + place * _KEYS) for place, step in enumerate(steps)]
    )
    counts = [len(step.due.keys) for step in steps]
    numbers = np.repeat(np.array([step.number for step in steps], np.int64), counts)
    if len(steps) == 1:
        return numbers, due
    order = np.lexsort((due.offsets, numbers, due.due_at))
    return numbers[order], due.filter(order)


def asked_of(steps: Sequence[Step], due: DueQuestions) -> Asked | None:
    """Return what the champion has to score while it learns `due`, in the order of the steps.

    A question is scored when all that was due by then has been learned.
    """
    unscored = [step.unscored for step in steps]
    if not any(len(one.keys) for one in unscored):
        return None
    score_at = np.concatenate([one.score_at for one in unscored])
    keys = np.concatenate([one.keys + place * _KEYS for place, one in enumerate(unscored)])
    return Asked(
        np.concatenate([one.features for one in unscored]),
        np.searchsorted(due.due_at, score_at, side="right").astype(np.int64),
        _places(keys, due.keys),
    )


def split(steps: Sequence[Step], scores: Float64s) -> Iterator[tuple[Step, Float64s]]:
    """Yield the scores of `asked_of` step by step."""
    begin = 0
    for step in steps:
        end = begin + len(step.unscored.keys)
        yield step, scores[begin:end]
        begin = end


def _places(keys: Int64s, among: Int64s) -> Int64s:
    """Return the place of each key among others, -1 for those that are not there."""
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(among)
    found = order[np.minimum(np.searchsorted(among, keys, sorter=order), len(among) - 1)]
    return np.where(among[found] == keys, found, -1)
