"""What every model has to beat: the share of positives, or the mean, so far.

The share of outcomes is (positives + 0.5) / (examples + 1), the estimate of Krichevsky and
Trofimov: it is never 0 or 1, so that the first surprise does not cost an infinite loss. The mean of
values is computed as River's `stats.Mean` does it, to the last bit; before the first it is 0.

Decayed ones weigh an example half as much after each `HALF_LIFE` newer ones.
"""

from typing import Final, Self

import numpy as np

from pipelines.columnar.jit import Int64s, kernel, register_example
from pipelines.models.arrays import Arrays, Float, Float64s, Rows
from pipelines.models.parts import ArrayReader
from pipelines.models.rows import checked_labels, checked_order, checked_rows
from schemas.model_spec import ModelSpec

HALF_LIFE: Final = 1_000  # examples

_WEIGHT = 0  # of all examples learned
_SUM = 1  # of labels, by weight; of values, their mean


@kernel
def fold(
    state: Float64s, decay: Float, outcomes: bool, labels: Float64s, order: Int64s, scores: Float64s
) -> None:
    """Score and learn in the given order; see `Model.fold`."""
    for step in range(len(order)):
        i = order[step]
        if i >= 0:
            scores[i] = _score(state, outcomes)
            continue
        state[_WEIGHT] = decay * state[_WEIGHT] + 1.0
        if outcomes:
            state[_SUM] = decay * state[_SUM] + labels[~i]
        else:
            state[_SUM] += np.true_divide(1.0, state[_WEIGHT]) * (labels[~i] - state[_SUM])


@kernel
def _score(state: Float64s, outcomes: bool) -> Float:
    if outcomes:
        return np.true_divide(state[_SUM] + 0.5, state[_WEIGHT] + 1.0)
    return state[_SUM]


class BaseRate:
    """The share of positives or the mean value, cumulative or decayed. It is a `Model`."""

    def __init__(self, spec: ModelSpec, features: tuple[str, ...]) -> None:
        self.spec: Final = spec
        self.features: Final = features
        self.version = 0
        decayed = spec.kind in {"decayed_base_rate", "decayed_mean"}
        self._decay = 0.5 ** (1 / HALF_LIFE) if decayed else 1.0
        self._state = np.zeros(2)

    def learn_many(self, rows: Rows, labels: Float64s) -> None:
        """Learn each label, in order; see `Model`."""
        self.fold(rows, labels, ~np.arange(len(rows)))

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the rate or mean for each row; see `Scorer`."""
        rows = checked_rows(rows, len(self.features))
        return np.full(len(rows), _score(self._state, self.spec.predicts_outcome))

    def fold(self, rows: Rows, labels: Float64s, order: Int64s) -> Float64s:
        """Score and learn in the given order; see `Model`."""
        rows = checked_rows(rows, len(self.features), learned=True)
        outcomes = self.spec.predicts_outcome
        labels = checked_labels(labels, len(rows), outcomes=outcomes)
        order = checked_order(order, len(rows))
        scores = np.full(len(rows), np.nan)
        fold(self._state, self._decay, outcomes, labels, order, scores)
        self.version += int((order < 0).sum())
        return scores

    def contributions(self, rows: Rows, count: int) -> None:
        """Return None: no part of a score is one feature's; see `Scorer`."""

    def arrays(self) -> Arrays:
        """Return the state, copied."""
        return {"learned": np.array([self.version], np.int64), "state": self._state.copy()}

    @classmethod
    def from_arrays(cls, spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> Self:
        """Return the base rate whose `arrays` these are.

        Raises:
            InvalidRecord: they are not the state of one.
        """
        model = cls(spec, features)
        least = 0.0 if spec.predicts_outcome else -np.inf
        with ArrayReader(arrays) as reader:
            model.version = reader.count("learned")
            model._state[:] = reader.floats("state", (2,), least=least)
        return model


@register_example
def _precompile() -> None:
    model = BaseRate(ModelSpec("base_rate"), ("a",))
    rows = np.zeros((1, 1), np.float32)
    model.learn_many(rows, np.zeros(1))
    model.predict_many(rows)
