"""Learning and scoring one example: `python -m benchmarks.models`.

Models learn and score the same rows of 24 features, ours in batches and River's one by one, in one
process and without Kafka. River's rows are dicts already, which it is not charged for.

Then how good models are on real events: log loss beside that of the base rate, ROC AUC, mean score.
"""

import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.history import benchmark_parser, publish
from benchmarks.real_predictions import (
    BUYS_AGAIN,
    BUYS_SOON,
    LEAVES,
    Judged,
    cdnow,
    learn,
    shop,
)
from pipelines.models.arrays import Float64s, Rows
from pipelines.models.create import create
from pipelines.models.drift import DriftDetector
from pipelines.models.export import to_river
from pipelines.models.quality import OutcomeQuality
from schemas.model_spec import ModelSpec

FEATURES = 24
_ROUNDS = 5
_LINEAR = (
    ModelSpec("logistic_sgd"),
    ModelSpec("logistic_adagrad"),
    ModelSpec("linear_regression"),
    ModelSpec("logistic_sgd", calibrated=True),
)
_OTHERS = (
    ModelSpec("base_rate"),
    ModelSpec("gaussian_naive_bayes"),
    ModelSpec("hoeffding_tree"),
    ModelSpec("adaptive_random_forest"),
)


class Cost(NamedTuple):
    """Microseconds an example; River's are 0 for what River does not have."""

    learn: float
    predict: float
    river_learn: float = 0.0
    river_predict: float = 0.0


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--river-examples", type=int, default=3_000)
    arguments = parser.parse_args()
    rows, labels = examples(arguments.examples)
    few = arguments.river_examples
    costs: dict[str, Cost] = {}
    for spec in _LINEAR:
        ours = time_model(spec, rows, labels)
        costs[spec.name] = Cost(*ours, *time_river(spec, rows[:few], labels[:few]))
    for spec in _OTHERS:
        count = arguments.examples if spec.kind == "base_rate" else few
        costs[spec.name] = Cost(*time_model(spec, rows[:count], labels[:count], rounds=1))
    other = {
        "contributions_us": time_contributions(rows, labels),
        "quality_us": time_quality(rows, labels),
        "drift_us": time_drift(few),
    }
    show(costs, other, qualities())


def qualities() -> dict[str, dict[str, Judged]]:
    """Return how good the models of some predictions are on real events."""
    visits, purchases = shop(), cdnow()
    return {
        "shop: buys within 30 minutes": learn(BUYS_SOON, visits),
        "shop: no visit within 14 days": learn(LEAVES, visits),
        "CDNOW: buys again within 90 days": learn(BUYS_AGAIN, purchases),
    }


def examples(count: int) -> tuple[Rows, Float64s]:
    """Return rows of float32, among them counts, shares and a constant, and labels to learn."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((count, FEATURES)) * rng.uniform(0.1, 100, FEATURES)
    rows[:, 6:12] = rng.poisson(1.0, (count, 6))
    rows[:, 12] = 2.5
    labels = rows[:, 0] / rows[:, 0].std() + rng.standard_normal(count) > 0.7
    return rows.astype(np.float32), labels.astype(np.float64)


def time_model(
    spec: ModelSpec, rows: Rows, labels: Float64s, rounds: int = _ROUNDS
) -> tuple[float, float]:
    """Return the least cost of learning and of predicting over some rounds, in µs a row."""
    create_and_run(spec, rows[:10], labels[:10])
    costs = [create_and_run(spec, rows, labels) for _ in range(rounds)]
    return min(learn for learn, _ in costs), min(predict for _, predict in costs)


def create_and_run(spec: ModelSpec, rows: Rows, labels: Float64s) -> tuple[float, float]:
    """Return the cost of learning rows and of then predicting them, in µs a row."""
    model = create(spec, names())
    learn = timed(lambda: model.learn_many(rows, labels), len(rows))
    return learn, timed(lambda: model.predict_many(rows), len(rows))


def time_river(spec: ModelSpec, rows: Rows, labels: Float64s) -> tuple[float, float]:
    """Return the cost of River's own pipeline, in µs a row."""
    model: Any = to_river(create(spec, names()))
    dicts = [dict(zip(names(), row, strict=True)) for row in rows.tolist()]
    answers = labels.astype(bool).tolist() if spec.predicts_outcome else labels.tolist()
    predict = model.predict_proba_one if spec.predicts_outcome else model.predict_one

    def learn_all() -> None:
        for x, y in zip(dicts, answers, strict=True):
            model.learn_one(x, y)

    def predict_all() -> None:
        for x in dicts:
            predict(x)

    return timed(learn_all, len(rows)), timed(predict_all, len(rows))


def time_contributions(rows: Rows, labels: Float64s) -> float:
    """Return the cost of the three features of a row that contribute most, in µs."""
    model: Any = create(ModelSpec("logistic_sgd"), names())
    model.learn_many(rows, labels)
    model.contributions(rows[:10], 3)
    return timed(lambda: model.contributions(rows, 3), len(rows))


def time_quality(rows: Rows, labels: Float64s) -> float:
    """Return the cost of judging a score, in batches of 1,000, in µs."""
    quality, scores = OutcomeQuality(), np.full(len(rows), 0.3)
    quality.add(scores[:10], scores[:10], labels[:10])

    def add_all() -> None:
        for begin in range(0, len(rows), 1_000):
            part = slice(begin, begin + 1_000)
            quality.add(scores[part], scores[part], labels[part])

    return timed(add_all, len(rows))


def time_drift(count: int) -> float:
    """Return the cost of watching a loss for drift, in µs."""
    detector, losses = DriftDetector(), np.random.default_rng(2).random(count)
    return timed(lambda: detector.add(losses), count)


def timed(call: Callable[[], object], count: int) -> float:
    """Return how long a call takes, in µs for each of `count`."""
    begin = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - begin) / count


def names() -> tuple[str, ...]:
    """Return names of features."""
    return tuple(f"feature_{n}" for n in range(FEATURES))


def show(
    costs: dict[str, Cost], other: dict[str, float], found: dict[str, dict[str, Judged]]
) -> None:
    """Print tables for people, and the figures as one JSON object on the last line."""
    table = Table("model", "learn µs", "predict µs", "River learn µs", "River predict µs")
    for name, cost in costs.items():
        table.add_row(name, *(f"{part:.3f}" if part else "-" for part in cost))
    console = Console(width=110)
    console.print(f"{FEATURES} features, {platform.machine()}, Python {platform.python_version()}")
    console.print(table)
    quality = Table(
        "prediction", "model", "log loss", "base rate", "ROC AUC", "mean", "rate", "shown"
    )
    for prediction, models in found.items():
        for model, judged in models.items():
            quality.add_row(
                prediction,
                model,
                *(f"{number:.3f}" for number in _of(judged).values()),
                "yes" if judged.better_than_base else "withheld",
            )
    console.print(quality)
    default = costs[ModelSpec("logistic_sgd").name]
    figures = {
        "learn_us": default.learn,
        "predict_us": default.predict,
        "learn_ratio": default.river_learn / default.learn,
        "predict_ratio": default.river_predict / default.predict,
        "cost_us": {name: cost._asdict() for name, cost in costs.items()},
        **other,
        "quality": {
            prediction: {
                model: _of(judged) | {"shown": judged.better_than_base}
                for model, judged in models.items()
            }
            for prediction, models in found.items()
        },
    }
    publish(figures)


def _of(judged: Judged) -> dict[str, float]:
    figures = judged.figures
    return {
        "log_loss": figures.log_loss,
        "base_log_loss": figures.base_log_loss,
        "roc_auc": figures.roc_auc or 0.0,
        "mean_score": judged.mean_score,
        "rate": figures.positives / figures.examples,
    }


if __name__ == "__main__":
    main()
