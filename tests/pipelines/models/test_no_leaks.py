"""Nothing of the future, and nothing of a label, gets into a score before its time."""

import random

import numpy as np

from benchmarks.real_predictions import BUYS_SOON, Event, Quality, examples_of, qualities_of, shop
from pipelines.models.arrays import Float64s
from schemas.examples.columns import Examples, Outcomes
from schemas.operators.prediction import Prediction

SGD = "logistic_sgd_0.003"
ALONE = Prediction(
    goal=BUYS_SOON.goal,
    within_s=BUYS_SOON.within_s,
    events=BUYS_SOON.events,
    conditions=BUYS_SOON.conditions,
)


def scores_of(quality: Quality) -> Float64s:
    """The scores as of when questions were asked, in the order in which these were due."""
    return quality.all.arrays()["window_scores"].astype(np.float64)


def test_shuffling_the_future_leaves_all_earlier_scores_unchanged() -> None:
    visits = shop()
    half = len(visits) // 2
    past, future = visits[:half], visits[half:]
    others = random.Random(3).sample(future, len(future))
    shuffled = [
        Event(other.person, other.name, event.at, other.properties)
        for event, other in zip(future, others, strict=True)
    ]
    found, again = (
        scores_of(qualities_of(examples_of(ALONE, past + rest))[SGD]) for rest in (future, shuffled)
    )
    # A question that is asked earlier is due earlier.
    log = examples_of(ALONE, past)
    before = sum(int((one.questions.at < future[0].at).sum()) for one in log)
    assert before > 15_000
    assert (found[:before].view(np.int64) == again[:before].view(np.int64)).all()
    assert (found[before : before + 5_000] != again[before : before + 5_000]).any()


def test_labels_that_are_drawn_by_lot_cannot_be_predicted() -> None:
    rng = np.random.default_rng(5)
    quality = qualities_of([by_lot(one, rng) for one in examples_of(ALONE, shop())])[SGD]
    figures = quality.all.window()
    assert 0.1 < figures.positives / figures.examples < 0.12
    assert figures.roc_auc is not None
    assert abs(figures.roc_auc - 0.5) < 0.02
    assert figures.log_loss >= figures.base_log_loss - 1e-3


def by_lot(examples: Examples, rng: np.random.Generator) -> Examples:
    """The same questions, each of a person of its own, who acts next in 11 of 100 cases."""
    asked = examples.questions
    offsets, persons = 2 * asked.offsets, asked.offsets.astype(np.uint64)
    drawn = rng.random(len(offsets)) < 0.11
    outcomes = Outcomes(
        offsets[drawn] + 1,
        asked.at[drawn],
        persons[drawn],
        np.ones(int(drawn.sum())),
        np.maximum(asked.clocks, asked.at)[drawn],
    )
    return examples._replace(
        position=2 * examples.position,
        questions=asked._replace(offsets=offsets, persons=persons),
        outcomes=outcomes,
    )
