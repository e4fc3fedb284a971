"""Linear models equal River's to the last bit, whatever they learn."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from pipelines.models.arrays import Float64s, Rows
from pipelines.models.create import create, restore
from pipelines.models.linear import LinearModel
from pipelines.models.rows import clipped, finite_rows, interleaved
from schemas.model_spec import ModelSpec
from tests.pipelines.models.as_river import (
    ADAGRAD,
    REGRESSION,
    SGD,
    named,
    names,
    pipeline,
    run,
    same_bits,
    score,
    state,
)

SPECS = [
    SGD,
    ModelSpec("logistic_sgd", 0.01),
    ModelSpec("logistic_sgd", 1.0),
    ADAGRAD,
    ModelSpec("logistic_adagrad", 1.0),
    REGRESSION,
]
# Each example runs for this number of steps; 400 examples of each spec are 60,000 in all.
STEPS, EXAMPLES = 25, 400


class Run(NamedTuple):
    """Rows and labels in order, and how they are scored and learned."""

    rows: Rows
    labels: Float64s
    order: list[int]


# Where features come from: what is constant has no variance, what is tiny has one that underflows.
SCALES = [0.0, 1.0, 1e-45, 1e-42, 1e-38, 1e-20, 1e-3, 1e6, 1e19, 1e30, 3e38]
# Those of float64, whose squares and sums overflow.
MORE_SCALES = [5e-324, 1e-310, 1e-160, 1e155, 1e200, 1e307]


@st.composite
def runs(draw: st.DrawFn, values: bool) -> Run:
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 6))
    double = draw(st.booleans())
    scale = st.sampled_from(SCALES + MORE_SCALES if double else SCALES)
    scales = draw(st.lists(scale, min_size=count, max_size=count))
    rng = np.random.default_rng(seed)
    kind = draw(st.sampled_from(["normal", "outliers", "constant then not", "few values"]))
    raw = rng.standard_normal((STEPS, count))
    if kind == "outliers":
        raw *= rng.choice([1.0, 1e-9, 1e9], raw.shape, p=[0.8, 0.1, 0.1])
    elif kind == "constant then not":
        raw[: STEPS // 2] = raw[0]
    elif kind == "few values":
        raw = rng.integers(-1, 2, raw.shape).astype(float)
    event(kind)
    with np.errstate(all="ignore"):
        bound = 1e308 if double else 3e38
        rows = np.clip(raw * scales + rng.choice([0.0, 1.0, -7.5], count), -bound, bound)
    labels = (rng.random(STEPS) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))).astype(float)
    if values:
        labels = rng.standard_normal(STEPS) * draw(st.sampled_from([1.0, 1e-300, 1e9, 1e200]))
    order = draw(st.sampled_from(["interleaved", "any"]))
    steps = interleaved(STEPS) if order == "interleaved" else rng.integers(-STEPS, STEPS, 2 * STEPS)
    return Run(rows if double else rows.astype(np.float32), labels, steps.tolist())


def columns_of(model: LinearModel) -> list[float]:
    c = model.columns
    counts = [model.version] * len(c.means) if model.version else []
    return [*c.means, *c.variances, *c.weights, *c.intercept, *counts]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@given(data=st.data())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_scores_and_state_have_the_bits_of_river(spec: ModelSpec, data: st.DataObject) -> None:
    given = data.draw(runs(not spec.predicts_outcome))
    ours = LinearModel(spec, names(given.rows.shape[1]))
    river = pipeline(spec)

    with np.errstate(all="ignore"):
        expected = run(river, spec, given.rows, given.labels, given.order)
    scores = ours.fold(given.rows, given.labels, np.array(given.order))

    assert same_bits(scores, expected)
    if ours.version:
        assert same_bits(columns_of(ours), state(river))
    theirs = [score(river, named(row)) for row in given.rows.tolist()]
    assert same_bits(ours.predict_many(given.rows), theirs)


@pytest.mark.parametrize("spec", [SGD, ADAGRAD], ids=lambda spec: spec.name)
def test_margins_beyond_18_and_30_have_the_bits_of_river(spec: ModelSpec) -> None:
    """Scores are 0 and 1 beyond 30, and gradients approximated beyond 18, to either side."""
    ours, river = LinearModel(spec, names(3)), pipeline(spec)
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((4_000, 3)).astype(np.float32)
    ours.learn_many(rows[:500], np.ones(500))
    arrays = dict(ours.arrays()) | {"weights": np.array([9.0, -8.0, 7.0])}
    ours = LinearModel.from_arrays(spec, ours.features, arrays)
    run(river, spec, rows[:500], np.ones(500), (~np.arange(500)).tolist())
    linear = river[-1]
    for name, weight, own in zip(names(3), ours.columns.weights, arrays["weights"], strict=True):
        linear._weights[name] = float(own)
        assert weight == own
    linear.intercept = float(ours.columns.intercept[0])
    if spec is ADAGRAD:
        assert dict(linear.optimizer.g2) == dict(zip(names(3), ours.columns.squares, strict=True))
    labels = (rng.random(4_000) < 0.5).astype(float)

    scores = ours.fold(rows, labels, interleaved(4_000))
    expected = run(river, spec, rows, labels, interleaved(4_000).tolist())

    margins = np.log(expected[(expected > 0) & (expected < 1)])
    assert (expected == 0).any()
    assert (expected == 1).any()
    assert margins.min() < -18
    assert same_bits(scores, expected)
    assert same_bits(columns_of(ours), state(river))


@pytest.mark.parametrize("spec", [SGD, ADAGRAD, REGRESSION], ids=lambda spec: spec.name)
def test_a_long_run_of_24_features_has_the_bits_of_river(spec: ModelSpec) -> None:
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((3_000, 24)) * rng.uniform(0.1, 100, 24) + 3).astype(np.float32)
    rows[:, 5] = 2.5
    rows[:, 6] = rng.random(3_000) < 0.01
    labels = (rng.random(3_000) < 0.3).astype(float)
    ours, river = LinearModel(spec, names(24)), pipeline(spec)

    scores = ours.fold(rows, labels, interleaved(3_000))

    assert same_bits(scores, run(river, spec, rows, labels, interleaved(3_000).tolist()))
    assert same_bits(columns_of(ours), state(river))


@given(cut=st.integers(0, 200), spec=st.sampled_from(SPECS))
@settings(deadline=None, max_examples=40)
def test_batches_and_a_restart_change_nothing(cut: int, spec: ModelSpec) -> None:
    rng = np.random.default_rng(cut)
    rows = rng.standard_normal((200, 5)).astype(np.float32)
    labels = (rows[:, 0] > 0.3).astype(float)
    whole = create(spec, names(5))
    whole.learn_many(rows, labels)

    parts = create(spec, names(5))
    parts.learn_many(rows[:cut], labels[:cut])
    parts = restore(spec, names(5), parts.arrays())
    for i in range(cut, 200):
        parts.learn_many(rows[i : i + 1], labels[i : i + 1])

    assert parts.version == 200
    assert whole.arrays().keys() == parts.arrays().keys()
    for name, array in whole.arrays().items():
        assert same_bits(array, parts.arrays()[name])
    assert same_bits(whole.predict_many(rows), parts.predict_many(rows))


def test_arrays_that_cannot_be_written_or_are_not_contiguous_are_learned() -> None:
    rows = np.asfortranarray(np.random.default_rng(2).standard_normal((50, 4)))
    labels = np.frombuffer(np.zeros(50).tobytes())
    one, other = create(SGD, names(4)), create(SGD, names(4))

    one.learn_many(rows, labels)
    other.learn_many(np.ascontiguousarray(rows), labels.copy())

    assert same_bits(one.predict_many(rows), other.predict_many(rows))


def test_contributions_are_weight_times_scaled_value_and_add_up_to_the_log_odds() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((300, 6)).astype(np.float32)
    model = LinearModel(ModelSpec("logistic_sgd", 0.1), names(6))
    model.learn_many(rows, (rows[:, 2] > 0).astype(float))

    all_six = model.contributions(rows, 10)
    top = model.contributions(rows, 2)

    c = model.columns
    expected = (rows.astype(float) - c.means) / c.deviations * c.weights
    assert all_six.features.shape == (300, 6)
    for row in range(300):
        order = np.argsort(-abs(expected[row]), kind="stable")
        assert all_six.features[row].tolist() == order.tolist()
        assert same_bits(all_six.values[row], expected[row][order])
        assert top.features[row].tolist() == order[:2].tolist()
    odds = all_six.values.sum(axis=1) + c.intercept
    assert np.allclose(1 / (1 + np.exp(-odds)), model.predict_many(rows))


@pytest.mark.parametrize(
    ("spec", "linear"),
    [
        (SGD, True),
        (REGRESSION, True),
        (ModelSpec("logistic_sgd", calibrated=True), True),
        (ModelSpec("base_rate"), False),
        (ModelSpec("gaussian_naive_bayes", calibrated=True), False),
    ],
    ids=str,
)
def test_only_linear_models_say_what_contributes(spec: ModelSpec, linear: bool) -> None:
    model, rows = create(spec, names(3)), np.ones((5, 3), np.float32)
    model.learn_many(rows, np.ones(5))

    found = model.contributions(rows, 2)

    assert (found is not None) is linear
    assert found is None or found.features.shape == found.values.shape == (5, 2)


def test_rows_and_labels_that_are_not_finite_are_named() -> None:
    rows = np.array([[1, 2], [np.nan, 2], [1, np.inf], [3, 4]], np.float32)

    assert finite_rows(rows).tolist() == [True, False, False, True]
    assert finite_rows(rows, np.array([0, 0, 0, -np.inf])).tolist() == [True, False, False, False]


def test_features_are_clipped_to_the_bound_and_keep_their_type() -> None:
    rows = np.array([[1e12, -3.0], [-np.inf, 0.5]], np.float32)

    assert clipped(rows, 10.0).tolist() == [[10.0, -3.0], [-10.0, 0.5]]
    assert clipped(rows, 10.0).dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), r"rows must be \(rows, 2\)"),
        (np.zeros(2), np.zeros(2), r"rows must be \(rows, 2\)"),
        (np.zeros((2, 2), np.int64), np.zeros(2), "float32 or float64"),
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), np.zeros(2), "rows to learn must be finite"),
        (np.array([[1.0, 2.0], [np.inf, 0.0]]), np.zeros(2), "rows to learn must be finite"),
        (np.zeros((2, 2)), np.zeros(3), r"labels must be \(2,\)"),
        (np.zeros((2, 2)), np.array([0.0, 0.5]), "must be 0 or 1"),
        (np.zeros((2, 2)), np.array([0.0, np.nan]), "must be 0 or 1"),
    ],
)
def test_wrong_rows_and_labels_are_refused_and_learn_nothing(
    rows: Any, labels: Any, message: str
) -> None:
    model = create(SGD, names(2))

    with pytest.raises(ValueError, match=message):
        model.learn_many(rows, labels)
    assert model.version == 0
