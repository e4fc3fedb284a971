"""River's own models, and what they are compared by: bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from river import linear_model, optim, preprocessing

from pipelines.models.arrays import Float64s, Rows
from schemas.model_spec import ModelSpec

SGD = ModelSpec("logistic_sgd")
ADAGRAD = ModelSpec("logistic_adagrad")
REGRESSION = ModelSpec("linear_regression")


def pipeline(spec: ModelSpec) -> Any:
    """The pipeline of River that a linear model is held to."""
    if spec.kind == "linear_regression":
        linear: Any = linear_model.LinearRegression(optim.SGD(spec.rate))
    else:
        adagrad = spec.kind == "logistic_adagrad"
        optimizer = optim.AdaGrad(spec.rate) if adagrad else optim.SGD(spec.rate)
        linear = linear_model.LogisticRegression(optimizer)
    return preprocessing.StandardScaler() | linear


def names(count: int) -> tuple[str, ...]:
    return tuple(f"feature {n}" for n in range(count))


def named(row: Sequence[float]) -> dict[Any, float]:
    return dict(zip(names(len(row)), row, strict=True))


def score(model: Any, x: dict[Any, float]) -> float:
    if hasattr(model[-1] if hasattr(model, "steps") else model, "predict_proba_one"):
        return float(model.predict_proba_one(x).get(True, 0.0))
    return float(model.predict_one(x))


def label_of(spec: ModelSpec, label: float) -> Any:
    return bool(label) if spec.predicts_outcome else label


def run(model: Any, spec: ModelSpec, rows: Rows, labels: Float64s, order: Sequence[int]) -> Any:
    """Score and learn with River, as `Model.fold` does."""
    scores = np.full(len(rows), np.nan)
    for i in order:
        if i >= 0:
            scores[i] = score(model, named(rows[i].tolist()))
        else:
            model.learn_one(named(rows[~i].tolist()), label_of(spec, float(labels[~i])))
    return scores


def state(river: Any) -> list[float]:
    """Means, variances, weights and intercept, in the order of the features."""
    scaler, linear = river[0], river[-1]
    keys = list(scaler.means)
    return [
        *(scaler.means[key] for key in keys),
        *(scaler.vars[key] for key in keys),
        *(linear.weights[key] for key in keys),
        linear.intercept,
        *scaler.counts.values(),
    ]


def same_bits(ours: Any, theirs: Any) -> bool:
    """Whether two lists of floats have the same bits; of NaN there is one."""
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    one, other = (np.where(np.isnan(a), np.nan, a) for a in (one, other))
    return one.tobytes() == other.tobytes()
