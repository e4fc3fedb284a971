"""The figures of a record's quality are those of the trainer, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pipelines.models import quality as trained
from pipelines.models import value_quality
from pipelines.trainer.fold import Counts
from schemas.errors import InvalidRecord
from schemas.model_verdict import MIN_EXAMPLES, MIN_OF_EITHER
from services.query.operators.prediction.models import TRAINING_COUNTS
from services.query.operators.prediction.quality import (
    OutcomeQuality,
    QualityResponse,
    ValueQuality,
)

SCORES = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
OUTCOMES = st.lists(st.tuples(SCORES, SCORES, st.sampled_from([0.0, 1.0])), max_size=200)
NUMBERS = st.floats(-1e6, 1e6)
VALUES = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=200)


def columns(rows: list[tuple[float, float, float]]) -> list[np.ndarray]:
    return list(np.array(rows, np.float64).reshape(-1, 3).T.copy())


def assert_same(shown: QualityResponse, kept: trained.OutcomeFigures) -> None:
    assert isinstance(shown.calibration, list)
    assert (shown.examples, shown.positives) == (kept.examples, kept.positives)
    assert (shown.log_loss, shown.base_log_loss) == (kept.log_loss, kept.base_log_loss)
    assert shown.calibration_error == kept.calibration_error
    bins = [(one.examples, one.mean_score or 0.0, one.rate or 0.0) for one in shown.calibration]
    assert bins == [tuple(one) for one in kept.calibration]
    edges = [(one.begin, one.end) for one in shown.calibration]
    assert edges == [(number / 10, (number + 1) / 10) for number in range(10)]


@pytest.mark.parametrize("window", [7, 64, 1_000])
@given(rows=OUTCOMES)
def test_figures_of_outcomes_are_those_of_the_trainer(
    window: int, rows: list[tuple[float, float, float]]
) -> None:
    kept = trained.OutcomeQuality(window)
    kept.add(*columns(rows))
    shown = OutcomeQuality(kept.arrays())
    assert_same(shown.since, kept.since())
    assert_same(shown.window, kept.window())
    newest = kept.window()
    assert (shown.window.roc_auc, shown.window.pr_auc) == (newest.roc_auc, newest.pr_auc)
    assert (shown.since.roc_auc, shown.since.pr_auc) == (UNSET, UNSET)


@pytest.mark.parametrize("window", [7, 1_000])
@given(rows=VALUES)
def test_figures_of_values_are_those_of_the_trainer(
    window: int, rows: list[tuple[float, float, float]]
) -> None:
    kept = value_quality.ValueQuality(window)
    kept.add(*columns(rows))
    shown = ValueQuality(kept.arrays())
    for one, other in ((shown.since, kept.since()), (shown.window, kept.window())):
        assert [getattr(one, name) for name in other._fields] == list(other)


@pytest.mark.parametrize("positives", [0, 19, 20, 100, 480, 481])
@pytest.mark.parametrize("examples", [499, 500, 600])
@pytest.mark.parametrize("score", [0.2, 0.5, 0.9])
def test_what_is_better_than_the_base_rate_is_what_the_trainer_finds(
    positives: int, examples: int, score: float
) -> None:
    labels = (np.arange(examples) < positives).astype(np.float64)
    scores = np.where(labels == 1, score, 1 - score)
    kept = trained.OutcomeQuality()
    kept.add(scores, np.full(examples, 0.5), labels)
    better = OutcomeQuality(kept.arrays()).trouble is None
    assert better == trained.better_than_base(kept.window())


@pytest.mark.parametrize("examples", [499, 500])
@pytest.mark.parametrize("error", [0.5, 1.0, 2.0])
def test_what_is_better_than_the_mean_is_what_the_trainer_finds(
    examples: int, error: float
) -> None:
    labels = np.arange(examples, dtype=np.float64)
    kept = value_quality.ValueQuality()
    kept.add(labels + error, labels + 1.0, labels)
    better = ValueQuality(kept.arrays()).trouble is None
    assert better == value_quality.better_than_mean(kept.window())


def test_both_sides_ask_for_as_many_examples() -> None:
    assert (MIN_EXAMPLES, MIN_OF_EITHER) == (trained.MIN_EXAMPLES, trained.MIN_OF_EITHER)
    assert tuple(Counts.__dataclass_fields__) == TRAINING_COUNTS


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("means", None),
        ("means", np.zeros(3)),
        ("counts", np.zeros((10, 2))),
        ("window_scores", np.zeros((2, 2))),
        ("window_labels", np.zeros(2, np.int64)),
        ("window_base_losses", np.zeros(2)),
    ],
)
def test_arrays_that_do_not_fit_one_another_are_refused(
    name: str, array: np.ndarray | None
) -> None:
    kept = trained.OutcomeQuality()
    kept.add(np.array([0.5]), np.array([0.5]), np.array([1.0]))
    arrays = {key: value for key, value in kept.arrays().items() if key != name}
    if array is not None:
        arrays[name] = array
    with pytest.raises(InvalidRecord, match=name):
        OutcomeQuality(arrays)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gain", [0.0, 0.01, 0.03, 0.1])
def test_what_is_clearly_better_is_what_the_trainer_finds(seed: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(2_000) < 0.3).astype(np.float64)
    scores = np.clip(0.3 + gain * (labels - 0.3) + rng.normal(0, 0.05, 2_000), 0.01, 0.99)
    kept = trained.OutcomeQuality()
    kept.add(scores, np.full(2_000, 0.3), labels)
    shown = OutcomeQuality(kept.arrays())
    assert (shown.trouble is None) == trained.better_than_base(kept.window())
    values = value_quality.ValueQuality()
    values.add(scores, np.full(2_000, 0.3), labels)
    shown_values = ValueQuality(values.arrays())
    assert (shown_values.trouble is None) == value_quality.better_than_mean(values.window())


@pytest.mark.parametrize("share", [0.06, 0.1, 0.3, 0.5])
def test_a_model_that_is_as_good_as_its_base_is_called_better_in_fewer_than_one_window_of_twenty(
    share: float,
) -> None:
    rng = np.random.default_rng(5)
    windows, better, less = 600, 0, 0
    for _ in range(windows):
        # Both are as far from the share as the other, on either side, and by chance.
        labels = (rng.random(600) < share).astype(np.float64)
        side = rng.choice([0.8, 1.25], 600)
        kept = trained.OutcomeQuality(600)
        kept.add(share * side, share / side, labels)
        quality = OutcomeQuality(kept.arrays())
        better += quality.trouble is None
        less += kept.window().log_loss < kept.window().base_log_loss
    assert less > 0.4 * windows  # which is what luck makes of it
    assert better < 0.05 * windows


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_a_model_of_a_value_that_is_as_good_as_the_mean_is_hardly_ever_called_better(
    scale: float,
) -> None:
    rng = np.random.default_rng(6)
    windows, better, less = 600, 0, 0
    for _ in range(windows):
        labels = rng.gamma(2.0, scale, 600)
        noise = rng.choice([-0.2, 0.2], 600) * scale
        kept = value_quality.ValueQuality(600)
        kept.add(2 * scale + noise, 2 * scale - noise, labels)
        better += ValueQuality(kept.arrays()).trouble is None
        less += kept.window().rmse < kept.window().base_rmse
    assert less > 0.4 * windows
    assert better < 0.05 * windows


def test_a_loss_that_is_less_by_luck_is_withheld_with_the_reason() -> None:
    labels = np.tile([0.0, 1.0], 300)
    right = np.arange(600) < 318  # of 600, by a coin
    scores = np.where(right == (labels == 1), 0.55, 0.45)
    kept = trained.OutcomeQuality()
    kept.add(scores, np.full(600, 0.5), labels)
    trouble = OutcomeQuality(kept.arrays()).trouble
    figures = kept.window()
    assert figures.standard_error is not None
    assert 0 < figures.base_log_loss - figures.log_loss < 2 * figures.standard_error
    assert trouble is not None
    assert "is not clearly less than that of its base rate" in trouble
    assert "within two standard errors" in trouble
