"""Trees, forests, naive Bayes, base rates and calibration, each beside River."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model, optim, stats

from pipelines.models.arrays import Float64s, Rows
from pipelines.models.base_rate import HALF_LIFE
from pipelines.models.calibration import MAX_LOG_ODDS, log_odds
from pipelines.models.create import create, open_scorer, restore
from pipelines.models.river_models import estimator_of
from pipelines.models.rows import interleaved
from schemas.errors import InvalidRecord, InvalidRequest
from schemas.model_spec import MAX_FEATURES, OUTCOME_KINDS, VALUE_KINDS, ModelSpec
from tests.pipelines.models.as_river import named, names, pipeline, run, same_bits
from tests.workers import ROOT

TREE, FOREST = ModelSpec("hoeffding_tree"), ModelSpec("adaptive_random_forest")
BAYES = ModelSpec("gaussian_naive_bayes")
CALIBRATED = ModelSpec("logistic_sgd", 0.01, calibrated=True)
KINDS = [
    *(ModelSpec(kind) for kind in (*OUTCOME_KINDS, *VALUE_KINDS)),
    *(
        ModelSpec(k, calibrated=True)
        for k in ("logistic_sgd", "hoeffding_tree", "adaptive_random_forest")
    ),
]


def examples(count: int, seed: int = 7) -> tuple[Rows, Float64s]:
    """What trees can split: two features out of four decide, and what they decide changes."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 4)).astype(np.float32)
    turned = np.arange(count) > 2 * count // 3
    positive = ((rows[:, 0] > 0.2) ^ turned) & (rows[:, 2] < 0.7)
    return rows, (positive ^ (rng.random(count) < 0.05)).astype(float)


@pytest.mark.parametrize("spec", [TREE, FOREST, BAYES], ids=lambda spec: spec.name)
def test_scores_are_those_of_river_and_an_export_scores_alike(spec: ModelSpec) -> None:
    count = 700 if spec is FOREST else 3_000
    rows, labels = examples(count)
    ours, river = create(spec, names(4)), estimator_of(spec.kind)

    scores = ours.fold(rows, labels, interleaved(count))

    assert same_bits(scores, run(river, spec, rows, labels, interleaved(count).tolist()))
    exported = open_scorer(spec, names(4), ours.arrays())
    expected = [river.predict_proba_one(named(row)).get(True, 0.0) for row in rows.tolist()]
    assert exported.version == count
    assert same_bits(exported.predict_many(rows), expected)
    if spec is not BAYES:
        assert len(ours.arrays()["thresholds"]) > len(ours.arrays()["roots"])
        assert len(set(expected)) > 2


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_what_an_export_scores_equals_the_model_at_any_version(spec: ModelSpec, count: int) -> None:
    rows, labels = examples(max(count, 5))
    model = create(spec, names(4))
    model.learn_many(rows[:count], labels[:count])

    scorer = open_scorer(spec, names(4), model.arrays())

    assert scorer.version == model.version == count
    assert same_bits(scorer.predict_many(rows), model.predict_many(rows))
    for name, array in model.arrays().items():
        assert same_bits(scorer.arrays()[name], array)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.name)
def test_a_model_is_restored_from_arrays_or_rebuilt_from_its_examples(spec: ModelSpec) -> None:
    rows, labels = examples(400)
    model = create(spec, names(4))
    first = model.fold(rows[:300], labels[:300], interleaved(300))

    if spec.rebuilt:
        with pytest.raises(InvalidRecord, match="learning again"):
            restore(spec, names(4), model.arrays())
        again = create(spec, names(4))
        assert same_bits(again.fold(rows[:300], labels[:300], interleaved(300)), first)
    else:
        again = restore(spec, names(4), model.arrays())

    rest = model.fold(rows[300:], labels[300:], interleaved(100))
    assert same_bits(again.fold(rows[300:], labels[300:], interleaved(100)), rest)
    assert again.version == model.version == 400


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.name)
def test_a_fold_equals_single_steps(spec: ModelSpec) -> None:
    """Rows may be scored and learned several times, or never; the last score is kept."""
    rows, labels = examples(60)
    order = np.random.default_rng(5).integers(-60, 60, 150)
    whole, steps = create(spec, names(4)), create(spec, names(4))

    scores = whole.fold(rows, labels, order)

    expected = np.full(60, np.nan)
    for i in order.tolist():
        if i >= 0:
            expected[i] = steps.predict_many(rows[i : i + 1])[0]
        else:
            steps.learn_many(rows[~i : ~i + 1], labels[~i : ~i + 1])
    assert same_bits(scores, expected)
    assert np.isnan(scores).any()
    assert whole.version == steps.version == (order < 0).sum()
    assert same_bits(whole.predict_many(rows), steps.predict_many(rows))


# Prints a digest of all arrays of trees that have learned some examples.
DIGEST = """
import hashlib
from pipelines.models.create import create
from schemas.model_spec import ModelSpec
from tests.pipelines.models.test_others import examples, names

digest = hashlib.sha256()
for kind, count in ("hoeffding_tree", 3_000), ("adaptive_random_forest", 500):
    model = create(ModelSpec(kind), names(4))
    model.learn_many(*examples(count))
    for name, array in sorted(model.arrays().items()):
        digest.update(name.encode() + array.tobytes())
print(digest.hexdigest())
"""


def test_trees_are_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@given(st.lists(st.booleans(), max_size=80))
def test_a_base_rate_is_the_share_of_positives_and_never_0_or_1(labels: list[bool]) -> None:
    model = create(ModelSpec("base_rate"), ("a",))
    rows = np.zeros((len(labels), 1), np.float32)

    scores = model.fold(rows, np.array(labels, float), interleaved(len(labels)))

    for n, score in enumerate(scores):
        assert score == (sum(labels[:n]) + 0.5) / (n + 1)
        assert 0 < score < 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=80))
def test_a_running_mean_has_the_bits_of_river(values: list[float]) -> None:
    model, mean = create(ModelSpec("running_mean"), ("a",)), stats.Mean()
    rows = np.zeros((len(values), 1), np.float32)

    scores = model.fold(rows, np.array(values), interleaved(len(values)))

    for score, value in zip(scores, values, strict=True):
        assert same_bits(score, mean.get())
        mean.update(value)


@pytest.mark.parametrize("kind", ["decayed_base_rate", "decayed_mean"])
def test_a_decayed_rate_forgets_half_within_its_half_life(kind: Any) -> None:
    model = create(ModelSpec(kind), ("a",))
    rows = np.zeros((20 * HALF_LIFE, 1), np.float32)
    model.learn_many(rows, np.ones(len(rows)))

    model.learn_many(rows[:HALF_LIFE], np.zeros(HALF_LIFE))

    assert model.predict_many(rows[:1])[0] == pytest.approx(0.5, abs=1e-3)


def test_a_calibration_has_the_bits_of_a_logistic_regression_of_river() -> None:
    rows, labels = examples(2_000)
    model = create(CALIBRATED, names(4))
    inner = pipeline(ModelSpec("logistic_sgd", 0.01))
    line = linear_model.LogisticRegression(
        optim.SGD(0.01), intercept_lr=0.01, initializer=optim.initializers.Constant(1.0)
    )
    expected = []
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        odds = {"log odds": log_odds(inner.predict_proba_one(named(row))[True])}
        line._weights.setdefault("log odds", 1.0)
        expected.append(line.predict_proba_one(odds)[True])
        line.learn_one(odds, bool(label))
        inner.learn_one(named(row), bool(label))

    scores = model.fold(rows, labels, interleaved(2_000))

    assert same_bits(scores, expected)
    assert same_bits(model.arrays()["line"], [line.weights["log odds"], line.intercept])


def test_a_calibration_corrects_scores_that_are_too_sure() -> None:
    rng = np.random.default_rng(8)
    one = rng.standard_normal(8_000).astype(np.float32)
    rows = np.stack([one] * 4, axis=1)  # naive Bayes takes one fact for four
    labels = (rng.random(8_000) < 1 / (1 + np.exp(-one))).astype(float)

    losses = {}
    for calibrated in False, True:
        model = create(ModelSpec("gaussian_naive_bayes", calibrated=calibrated), names(4))
        scores = model.fold(rows, labels, interleaved(8_000))[4_000:]
        chosen = np.clip(np.where(labels[4_000:] == 1, scores, 1 - scores), 1e-15, 1)
        losses[calibrated] = -np.log(chosen).mean()

    assert losses[True] < losses[False] - 0.1


@pytest.mark.parametrize(("score", "odds"), [(0.0, -MAX_LOG_ODDS), (1.0, MAX_LOG_ODDS), (0.5, 0.0)])
def test_log_odds_are_limited(score: float, odds: float) -> None:
    assert log_odds(score) == odds


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (ModelSpec("base_rate", 0.1), "model.learning_rate"),
        (ModelSpec("hoeffding_tree", 0.1), "model.learning_rate"),
        (ModelSpec("logistic_sgd", 0.0), "model.learning_rate"),
        (ModelSpec("logistic_sgd", 1.5), "model.learning_rate"),
        (ModelSpec("logistic_sgd", float("nan")), "model.learning_rate"),
        (ModelSpec("base_rate", calibrated=True), "model.calibrated"),
        (ModelSpec("linear_regression", calibrated=True), "model.calibrated"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(spec: ModelSpec, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        create(spec, ("a",))
    assert refused.value.field == field


@pytest.mark.parametrize("features", [(), ("a", "a"), names(MAX_FEATURES + 1)])
def test_features_must_be_different_and_not_too_many(features: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="features: must be 1 to 256 different names"):
        create(ModelSpec("logistic_sgd"), features)


def test_names_tell_models_of_a_prediction_apart() -> None:
    assert ModelSpec("logistic_sgd").name == "logistic_sgd_0.003"
    assert ModelSpec("logistic_sgd", 0.01, calibrated=True).name == "logistic_sgd_0.01_calibrated"
    assert len({spec.name for spec in KINDS}) == len(KINDS)
    assert set(OUTCOME_KINDS) == set(ModelSpec.__annotations__["kind"].__args__[0].__args__)
