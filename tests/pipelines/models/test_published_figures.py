"""What River's documentation and its own evaluation say of its data sets is true of our kernels."""

from typing import Any

import numpy as np
import pytest
from river import datasets, evaluate, linear_model, metrics, optim, preprocessing

from pipelines.models.arrays import Float64s, Rows
from pipelines.models.create import create
from pipelines.models.rows import interleaved
from schemas.model_spec import ModelSpec
from tests.pipelines.models.as_river import same_bits


def loaded(dataset: Any, dtype: Any) -> tuple[tuple[str, ...], Rows, Float64s]:
    examples = list(dataset)
    names = tuple(examples[0][0])
    rows = np.array([[x[name] for name in names] for x, _ in examples], dtype)
    return tuple(map(str, names)), rows, np.array([float(y) for _, y in examples])


def progressive(dataset: Any, rate: float, dtype: Any = np.float32) -> tuple[Float64s, Float64s]:
    names, rows, labels = loaded(dataset, dtype)
    model = create(ModelSpec("logistic_sgd", rate), names)
    return model.fold(rows, labels, interleaved(len(rows))), labels


def judged(metric: Any, scores: Float64s, labels: Float64s) -> Any:
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        judged = {True: score, False: 1 - score}
        metric.update(bool(label), judged if not metric.requires_labels else score > 0.5)
    return metric


def test_the_features_of_phishing_are_exact_as_float32() -> None:
    _, single, _ = loaded(datasets.Phishing(), np.float32)
    _, double, _ = loaded(datasets.Phishing(), np.float64)

    assert single.shape == (1_250, 9)
    assert (single == double).all()


def test_phishing_has_the_accuracy_and_f1_of_rivers_documentation() -> None:
    scores, labels = progressive(datasets.Phishing(), 0.1)

    assert str(judged(metrics.Accuracy(), scores, labels)) == "Accuracy: 88.96%"
    assert str(judged(metrics.F1(), scores, labels)) == "F1: 87.85%"


@pytest.mark.parametrize(
    ("rate", "loss"), [(0.01, 0.3301120464388312), (0.003, 0.4313316550592552)]
)
def test_phishing_has_the_log_loss_of_rivers_evaluation(rate: float, loss: float) -> None:
    scores, labels = progressive(datasets.Phishing(), rate)

    assert judged(metrics.LogLoss(), scores, labels).get() == loss
    river = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(rate))
    assert (
        evaluate.progressive_val_score(datasets.Phishing(), river, metrics.LogLoss()).get() == loss
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bananas_has_the_accuracy_of_rivers_evaluation(dtype: Any) -> None:
    scores, labels = progressive(datasets.Bananas(), 0.005, dtype)

    assert str(judged(metrics.Accuracy(), scores, labels)) == "Accuracy: 54.32%"


def test_features_that_float32_would_round_are_learned_exactly_as_float64() -> None:
    scores, _ = progressive(datasets.Bananas(), 0.005, np.float64)
    rounded, _ = progressive(datasets.Bananas(), 0.005, np.float32)
    river = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.005))
    expected = []
    for x, y in datasets.Bananas():
        expected.append(river.predict_proba_one(x)[True])
        river.learn_one(x, y)

    assert same_bits(scores, expected)
    assert not same_bits(rounded, expected)
