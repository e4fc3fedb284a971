"""Models that River itself learns and scores: trees, a forest, and Gaussian naive Bayes.

They cost tens of microseconds to milliseconds an example, and are for capped rates. Trees predict
the shares of classes in a leaf (`leaf_prediction="mc"`) and not naive Bayes in it, River's default:
only so can they be exported as arrays that score alike. Their depth is bounded, so that the export
is; River's own bound on memory is not used, because what it measures depends on the interpreter.
The forest is seeded. Nothing here depends on hashes or time: the same examples give the same model.
"""

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Arrays, Float64s, Rows
from pipelines.models.parts import NOT_RESTORABLE, ArrayReader
from pipelines.models.rows import checked_labels, checked_order, checked_rows
from pipelines.models.tree_export import MAX_DEPTH, MAX_TREES, exported
from schemas.errors import InvalidRecord
from schemas.model_spec import ModelKind, ModelSpec

if TYPE_CHECKING:
    from river.base import Classifier

RIVER_KINDS: Final[tuple[ModelKind, ...]] = (
    "hoeffding_tree",
    "adaptive_random_forest",
    "gaussian_naive_bayes",
)
FOREST_SEED: Final = 1
# More examples than a tree will ever see, so that River never estimates its size.
_NEVER: Final = 2**62


def estimator_of(kind: ModelKind) -> "Classifier":
    """Return the classifier of River that a kind is, before it has learned."""
    from river import forest, naive_bayes, tree  # noqa: PLC0415 # takes two seconds: see `models`

    if kind == "hoeffding_tree":
        return tree.HoeffdingTreeClassifier(
            leaf_prediction="mc", max_depth=MAX_DEPTH, memory_estimate_period=_NEVER
        )
    if kind == "adaptive_random_forest":
        return forest.ARFClassifier(
            n_models=MAX_TREES,
            seed=FOREST_SEED,
            leaf_prediction="mc",
            max_depth=MAX_DEPTH,
            memory_estimate_period=_NEVER,
        )
    return naive_bayes.GaussianNB()


class RiverModel:
    """A classifier of River, learned and scored one row at a time. It is a `Model`.

    A score is `predict_proba_one(x).get(True, 0.0)`: like River, 0 before the first positive.
    """

    def __init__(self, spec: ModelSpec, features: tuple[str, ...]) -> None:
        self.spec: Final = spec
        self.features: Final = features
        self.version = 0
        self.estimator: Final = estimator_of(spec.kind)

    def learn_many(self, rows: Rows, labels: Float64s) -> None:
        """Learn each row with its label, in order; see `Model`."""
        self.fold(rows, labels, ~np.arange(len(rows)))

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the score of each row; see `Scorer`."""
        rows = checked_rows(rows, len(self.features))
        return np.array([self._score(row) for row in rows], np.float64)

    def fold(self, rows: Rows, labels: Float64s, order: Int64s) -> Float64s:
        """Score and learn rows in the given order; see `Model`."""
        rows = checked_rows(rows, len(self.features), learned=True)
        labels = checked_labels(labels, len(rows), outcomes=True)
        scores = np.full(len(rows), np.nan)
        for i in checked_order(order, len(rows)).tolist():
            if i >= 0:
                scores[i] = self._score(rows[i])
            else:
                self.estimator.learn_one(self._named(rows[~i]), bool(labels[~i]))
                self.version += 1
        return scores

    def contributions(self, rows: Rows, count: int) -> None:
        """Return None: no part of a score is one feature's; see `Scorer`."""

    def arrays(self) -> Arrays:
        """Return what the model scores with; of naive Bayes, also what it learns with."""
        if self.spec.kind == "gaussian_naive_bayes":
            arrays = _bayes_arrays(self.estimator, self.features)
        else:
            arrays = exported(self.estimator, self.features)
        return {"learned": np.array([self.version], np.int64), **arrays}

    @classmethod
    def from_arrays(cls, spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> Self:
        """Return the naive Bayes whose `arrays` these are: it goes on as if it had never stopped.

        Raises:
            InvalidRecord: they are not the state of one, or the model is a tree or a forest.
        """
        if spec.rebuilt:
            raise InvalidRecord(NOT_RESTORABLE, f"{spec.name}: is restored by learning again")
        model = cls(spec, features)
        with ArrayReader(arrays) as reader:
            model.version = reader.count("learned")
            _restore_bayes(model.estimator, features, reader)
        return model

    def _named(self, row: Rows) -> dict[Any, float]:
        return dict(zip(self.features, row.tolist(), strict=True))

    def _score(self, row: Rows) -> float:
        return float(self.estimator.predict_proba_one(self._named(row)).get(True, 0.0))


def _bayes_arrays(bayes: Any, features: tuple[str, ...]) -> dict[str, Float64s | Int64s]:
    """Return the counts, means and sums of squares of the classes, in the order they came."""
    classes = list(bayes.class_counts)
    shape = (len(classes), len(features))
    variances = [[bayes.gaussians[c][name]._var for name in features] for c in classes]  # noqa: SLF001 # River has no getter
    return {
        "classes": np.array(classes, np.int64),
        "counts": np.array([bayes.class_counts[c] for c in classes], np.int64),
        "means": np.array([[v.mean.get() for v in row] for row in variances]).reshape(shape),
        "squares": np.array([[v._S for v in row] for row in variances]).reshape(shape),  # noqa: SLF001
    }


def _restore_bayes(bayes: Any, features: tuple[str, ...], reader: ArrayReader) -> None:
    size = reader.size("classes")
    classes = reader.ints("classes", (size,), 0, 1).tolist()
    if len(set(classes)) != size:
        raise InvalidRecord("invalid_model", "classes: must differ")
    shape = (size, len(features))
    counts = reader.ints("counts", (size,), 1, 2**53)
    means, squares = reader.floats("means", shape), reader.floats("squares", shape, least=0.0)
    for row, label in enumerate(classes):
        bayes.class_counts[bool(label)] = int(counts[row])
        for column, name in enumerate(features):
            variance = bayes.gaussians[bool(label)][name]._var  # noqa: SLF001 # River has no setter
            variance.mean.n = float(counts[row])
            variance.mean._mean = float(means[row, column])  # noqa: SLF001
            variance._S = float(squares[row, column])  # noqa: SLF001
