"""Linear models behind a standard scaler, as River has them."""

from typing import Final, Self

import numpy as np

from pipelines.columnar.jit import Int64s, register_example
from pipelines.models import linear_kernel
from pipelines.models.arrays import Arrays, Float64s, Rows
from pipelines.models.columns import ADAGRAD, LOG, SGD, SQUARED, LinearColumns, Rule
from pipelines.models.explain import Contributions
from pipelines.models.parts import ArrayReader
from pipelines.models.rows import checked_labels, checked_order, checked_rows
from schemas.errors import Misconfigured
from schemas.model_spec import ModelKind, ModelSpec

LINEAR_KINDS: Final[tuple[ModelKind, ...]] = (
    "logistic_sgd",
    "logistic_adagrad",
    "linear_regression",
)
# River's defaults: of GLM's intercept, and of AdaGrad.
_INTERCEPT_RATE: Final = 0.01
_EPSILON: Final = 1e-8


class LinearModel:
    """`StandardScaler | LogisticRegression` or `| LinearRegression` of River, to the last bit.

    It is a `Model`. Weights, means, variances and scores are those that River has after the same
    rows, on a machine with the same C library.
    """

    def __init__(self, spec: ModelSpec, features: tuple[str, ...]) -> None:
        self.spec: Final = spec
        self.features: Final = features
        self.rule: Final = _rule(spec)
        means, variances, deviations, weights, squares, scaled = np.zeros((6, len(features)))
        self.columns: Final = LinearColumns(
            means,
            variances,
            deviations,
            weights,
            squares,
            scaled,
            intercept=np.zeros(1),
            learned=np.zeros(1, np.int64),
        )
        self._scaled = np.empty(len(features))

    @property
    def version(self) -> int:
        """How many examples it has learned."""
        return int(self.columns.learned[0])

    def learn_many(self, rows: Rows, labels: Float64s) -> None:
        """Learn each row with its label, in order; see `Model`."""
        rows, labels = self._checked(rows, labels)
        linear_kernel.learn(self.columns, self.rule, rows, labels)

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the score of each row; see `Scorer`."""
        rows = checked_rows(rows, len(self.features))
        scores = np.empty(len(rows))
        linear_kernel.predict(self.columns, self.rule, rows, self._scaled, scores)
        return scores

    def fold(self, rows: Rows, labels: Float64s, order: Int64s) -> Float64s:
        """Score and learn rows in the given order; see `Model`."""
        rows, labels = self._checked(rows, labels)
        order = checked_order(order, len(rows))
        scores = np.full(len(rows), np.nan)
        linear_kernel.fold(self.columns, self.rule, rows, labels, order, scores)
        return scores

    def contributions(self, rows: Rows, count: int) -> Contributions:
        """Return for each row the `count` features that contribute most, all if there are fewer."""
        rows = checked_rows(rows, len(self.features))
        shape = len(rows), min(count, len(self.features))
        found = Contributions(np.empty(shape, np.int32), np.empty(shape))
        linear_kernel.contribute(self.columns, rows, self._scaled, *found)
        return found

    def arrays(self) -> Arrays:
        """Return the state, copied."""
        columns = self.columns
        arrays: dict[str, Float64s | Int64s] = {
            "learned": columns.learned.copy(),
            "means": columns.means.copy(),
            "variances": columns.variances.copy(),
            "weights": columns.weights.copy(),
            "intercept": columns.intercept.copy(),
        }
        if self.rule.optimizer == ADAGRAD:
            arrays["squares"] = columns.squares.copy()
        return arrays

    @classmethod
    def from_arrays(cls, spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> Self:
        """Return the model whose `arrays` these are: it goes on as if it had never stopped.

        Raises:
            InvalidRecord: they are not the state of such a model.
        """
        model = cls(spec, features)
        columns, shape = model.columns, (len(features),)
        with ArrayReader(arrays) as reader:
            columns.learned[0] = reader.count("learned")
            columns.means[:] = reader.floats("means", shape)
            columns.variances[:] = reader.floats("variances", shape, least=0.0)
            columns.weights[:] = reader.floats("weights", shape)
            columns.intercept[:] = reader.floats("intercept", (1,))
            if model.rule.optimizer == ADAGRAD:
                columns.squares[:] = reader.floats("squares", shape, least=0.0)
        linear_kernel.deviate(columns, model.rule)
        return model

    @classmethod
    def precompile(cls) -> None:
        """Compile all kernels, and check that they compute `pow` as Python does.

        Raises:
            Misconfigured: they do not, so that models would differ from River's.
        """
        model = cls(ModelSpec("logistic_sgd"), ("a", "b", "c", "d"))
        rows, labels = np.ones((2, 4), np.float32), np.zeros(2)
        model.fold(rows, labels, np.zeros(1, np.int64))
        model.learn_many(rows, labels)
        model.predict_many(rows)
        model.contributions(rows, 1)
        arrays = dict(model.arrays()) | {"variances": np.array([2.0, 0.7, 3e-9, 5e80])}
        restored = cls.from_arrays(model.spec, model.features, arrays).columns
        if restored.deviations.tolist() != [v**0.5 for v in restored.variances.tolist()]:
            raise Misconfigured(
                "compiled code computes powers otherwise than Python does on this machine: remove "
                "Intel's SVML (icc_rt), which Numba would use in place of the C library"
            )

    def _checked(self, rows: Rows, labels: Float64s) -> tuple[Rows, Float64s]:
        rows = checked_rows(rows, len(self.features), learned=True)
        return rows, checked_labels(labels, len(rows), outcomes=self.rule.loss == LOG)


def _rule(spec: ModelSpec) -> Rule:
    loss = LOG if spec.predicts_outcome else SQUARED
    optimizer = ADAGRAD if spec.kind == "logistic_adagrad" else SGD
    return Rule(loss, optimizer, spec.rate, _INTERCEPT_RATE, _EPSILON)


register_example(LinearModel.precompile)
