"""What all models have in common."""

from typing import Protocol

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Arrays, Float64s, Rows
from pipelines.models.explain import Contributions
from schemas.model_spec import ModelSpec


class Scorer(Protocol):
    """Scores rows as a model does at one version. Not thread-safe.

    Rows are (rows, features), float32 or float64, in the order of `features`, and finite
    (`finite_rows`); every feature is in every row.
    """

    @property
    def spec(self) -> ModelSpec:
        """What determines the model."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in the order of a row's columns."""

    @property
    def version(self) -> int:
        """How many examples it has learned."""

    def predict_many(self, rows: Rows) -> Float64s:
        """Return the score of each row: the probability of the outcome, or the value.

        Raises:
            ValueError: the rows do not have the model's features.
        """

    def contributions(self, rows: Rows, count: int) -> Contributions | None:
        """Return for each row the `count` features that contribute most, all if there are fewer.

        None if the model is not linear. Those of a calibrated model are those of the model inside,
        before the calibration.

        Raises:
            ValueError: as `predict_many`.
        """

    def arrays(self) -> Arrays:
        """Return the state, copied: what `restore` or `open_scorer` take it from."""


class Model(Scorer, Protocol):
    """Learns and scores. It is a fold: the same examples in the same order give the same bits."""

    def learn_many(self, rows: Rows, labels: Float64s) -> None:
        """Learn each row with its label, in order.

        Labels are (rows,): 0 or 1 of an outcome, finite values otherwise.

        Raises:
            ValueError: the rows do not have the model's features or are not finite, or the labels
                are not accepted. Nothing has been learned.
        """

    def fold(self, rows: Rows, labels: Float64s, order: Int64s) -> Float64s:
        """Score and learn rows in one given order, and return the scores (rows,).

        Row i is scored for each i of `order` (any length) that is not negative, and row ~i learned
        for the others. A row that is not scored has the score NaN; the label of one that is not
        learned is not used. `interleaved` is the order of a plain test-then-train run.

        Raises:
            ValueError: as `learn_many`, or `order` names a row that does not exist.
        """
