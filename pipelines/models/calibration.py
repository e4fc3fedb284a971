"""Online Platt calibration: a logistic regression on the log odds of another model's score.

With p the score, limited to 1e-15 … 1 - 1e-15, and z = ln(p / (1 - p)), limited to -10 … 10, the
calibrated score is 1 / (1 + exp(-(a z + b))). It starts as the score itself, with a = 1 and b = 0.
After each example, both take a step of gradient descent on the log loss of the score that the model
gave before it learned the example: with g = calibrated score - label,

    b -= 0.01 g        a -= 0.01 z g

This is Platt's sigmoid (Platt 1999, "Probabilistic outputs for support vector machines"), fitted
online as by Gupta and Ramdas (2023, "Online Platt scaling with calibeating"), with plain gradient
descent. It equals River's `LogisticRegression(SGD(0.01), intercept_lr=0.01,
initializer=Constant(1))` on the single feature z to the last bit, which is how it is exported.
"""

import math
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from pipelines.columnar.jit import Int64s, kernel, register_example
from pipelines.models.arrays import Arrays, Float, Float64s, Rows
from pipelines.models.explain import Contributions
from pipelines.models.linear_kernel import log_gradient, sigmoid
from pipelines.models.model import Model, Scorer
from pipelines.models.parts import REASON, ArrayReader
from pipelines.models.quality_kernel import LEAST_SCORE
from pipelines.models.rows import checked_labels, checked_order
from schemas.errors import InvalidRecord
from schemas.model_spec import ModelSpec

RATE: Final = 0.01
MAX_LOG_ODDS: Final = 10.0
_PREFIX: Final = "calibrated."

ScorerT = TypeVar("ScorerT", bound=Scorer)


@kernel
def log_odds(score: Float) -> Float:
    """Return the limited log odds of a score."""
    p = min(max(score, LEAST_SCORE), 1.0 - LEAST_SCORE)
    return min(max(math.log(np.true_divide(p, 1.0 - p)), -MAX_LOG_ODDS), MAX_LOG_ODDS)


@kernel
def fold(
    line: Float64s, raw: Float64s, labels: Float64s, order: Int64s, before: Float64s, out: Float64s
) -> None:
    """Calibrate `raw[i]` to `out[i]`, or learn `labels[~i]`, in the order of `Model.fold`.

    `line` is a and b; `before` has, for each row that is learned, in order, the score that the
    model gave before.
    """
    learned = 0
    for step in range(len(order)):
        i = order[step]
        if i >= 0:
            out[i] = sigmoid(line[0] * log_odds(raw[i]) + line[1])
        else:
            z = log_odds(before[learned])
            learned += 1
            gradient = log_gradient(line[0] * z + line[1], labels[~i])
            line[1] -= RATE * gradient
            line[0] -= RATE * (z * gradient)


class CalibratedScorer:
    """Scores of another scorer, calibrated. It is a `Scorer`."""

    def __init__(self, spec: ModelSpec, inner: Scorer, line: Float64s) -> None:
        self.spec: Final = spec
        self.line: Final = line
        self._inner = inner

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return self._inner.features

    @property
    def version(self) -> int:
        """How many examples have been learned."""
        return self._inner.version

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the score of each row; see `Scorer`."""
        raw = self._inner.predict_many(rows)
        scores = np.empty(len(raw))
        fold(self.line, raw, raw, np.arange(len(raw)), raw, scores)
        return scores

    def contributions(self, rows: Rows, count: int) -> Contributions | None:
        """Return those of the model inside; see `Scorer`."""
        return self._inner.contributions(rows, count)

    def arrays(self) -> Arrays:
        """Return the state, copied."""
        inner = {f"{_PREFIX}{name}": array for name, array in self._inner.arrays().items()}
        return {"line": self.line.copy(), **inner}


class CalibratedModel(CalibratedScorer):
    """A model and its calibration, which learn together. It is a `Model`."""

    def __init__(self, spec: ModelSpec, inner: Model, line: Float64s) -> None:
        super().__init__(spec, inner, line)
        self.inner: Final = inner

    def learn_many(self, rows: Rows, labels: Float64s) -> None:
        """Learn each row with its label, in order; see `Model`."""
        self.fold(rows, labels, ~np.arange(len(rows)))

    def fold(self, rows: Rows, labels: Float64s, order: Int64s) -> Float64s:
        """Score and learn in the given order; see `Model`."""
        count = len(rows)
        order = checked_order(order, count)
        scores = np.full(count, np.nan)
        # Before a row is learned, the model scores a copy of it, which stands after all rows.
        learns = order < 0
        learned = ~order[learns]
        steps = np.repeat(order, 1 + learns)
        steps[np.flatnonzero(learns) + np.arange(len(learned))] = count + np.arange(len(learned))
        labels = checked_labels(labels, count, outcomes=True)
        raw = self.inner.fold(
            np.concatenate((rows, rows[learned])),
            np.concatenate((labels, labels[learned])),
            steps,
        )
        fold(self.line, raw[:count], labels, order, raw[count:], scores)
        return scores


def restored(
    spec: ModelSpec, arrays: Arrays, inner: Callable[[Arrays], ScorerT]
) -> tuple[ScorerT, Float64s]:
    """Return what `inner` makes of the arrays of the calibrated model, and the line.

    Raises:
        InvalidRecord: they are not the state of a calibrated model.
    """
    own = {name: array for name, array in arrays.items() if not name.startswith(_PREFIX)}
    inside = {
        name.removeprefix(_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(_PREFIX)
    }
    if not inside:
        raise InvalidRecord(REASON, f"{spec.name}: the arrays of the model inside are missing")
    with ArrayReader(own) as reader:
        line = reader.floats("line", (2,)).copy()
    return inner(inside), line


@register_example
def _precompile() -> None:
    one = np.zeros(1)
    fold(np.ones(2), one, one, np.zeros(1, np.int64), one, one)
