"""How good the scores of a model of a value are, beside the running mean: test, then train.

As `quality`, for values: mean absolute error and root mean squared error, exact in both spans.
"""

from typing import Final, NamedTuple, Self

import numpy as np

from pipelines.columnar.jit import register_example
from pipelines.models import quality_kernel as kernel
from pipelines.models.arrays import Arrays, Float64s
from pipelines.models.parts import ArrayReader
from pipelines.models.quality import MIN_EXAMPLES, WINDOW
from pipelines.models.rows import checked_labels
from pipelines.models.window import Window
from schemas.significance import is_clearly_less, standard_error

# Squares of larger errors would overflow, and one alone would make the mean infinite for ever.
MAX_ERROR: Final = 1e100
_TWO: Final = 2.0


class ValueFigures(NamedTuple):
    """The quality of scores in one span, in the unit of the value.

    `base_mae` and `base_rmse` are those of the running mean. `standard_error` is that of the mean
    difference of the squared errors; None since the start.
    """

    examples: int
    mae: float
    rmse: float
    base_mae: float
    base_rmse: float
    standard_error: float | None = None


class ValueQuality:
    """Judges scores of values. Not thread-safe.

    The errors since the start have the bits of River's `metrics.MAE` and `metrics.RMSE`.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.examples = 0
        # Means of the absolute and squared errors of the model, and of the running mean.
        self._means: Float64s = np.zeros(4)
        self._window = Window(window, 3)  # scores, scores of the running mean, labels

    def add(self, scores: Float64s, base_scores: Float64s, labels: Float64s) -> Float64s:
        """Take in scores whose labels are known, in order; return the absolute error of each.

        All are (examples,) and finite, and none is further than 1e100 from its label.

        Raises:
            ValueError: they are not.
        """
        labels = checked_labels(labels, len(scores), outcomes=False)
        parts = [_checked(part, labels) for part in (scores, base_scores)]
        own, base, squared = np.empty((3, len(labels)))
        for column, (part, absolute) in enumerate(zip(parts, (own, base), strict=True)):
            kernel.errors(part, labels, _TWO, absolute, squared)
            kernel.advance(self._means, 2 * column, self.examples, absolute)
            kernel.advance(self._means, 2 * column + 1, self.examples, squared)
        self._window.add(*parts, labels)
        self.examples += len(labels)
        return own

    def since(self) -> ValueFigures:
        """Return the figures since the start."""
        return _figures(self.examples, self._means.tolist())

    def window(self) -> ValueFigures:
        """Return the figures of the newest examples."""
        scores, base_scores, labels = self._window.columns()
        means, squares = [], []
        for part in scores, base_scores:
            absolute, squared = np.empty((2, len(labels)))
            kernel.errors(part, labels, _TWO, absolute, squared)
            means += [float(kernel.mean_of(absolute)), float(kernel.mean_of(squared))]
            squares.append(squared)
        error = standard_error(squares[0] - squares[1])
        return _figures(len(labels), means)._replace(standard_error=error)

    def arrays(self) -> Arrays:
        """Return the state, copied."""
        scores, base_scores, labels = self._window.columns()
        return {
            "examples": np.array([self.examples], np.int64),
            "means": self._means.copy(),
            "window_scores": scores,
            "window_base_scores": base_scores,
            "window_labels": labels,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, window: int = WINDOW) -> Self:
        """Return the quality whose `arrays` these are, which had the same window.

        Raises:
            InvalidRecord: they are not the state of one.
        """
        quality = cls(window)
        with ArrayReader(arrays) as reader:
            quality.examples = reader.count("examples")
            shape = (min(quality.examples, window),)
            quality._means[:] = reader.floats("means", (4,), least=0.0)
            names = ("window_scores", "window_base_scores", "window_labels")
            columns = [reader.floats(name, shape) for name in names]
        quality._window.add(*columns)
        return quality


def better_than_mean(figures: ValueFigures) -> bool:
    """Return whether a model has shown to be better than the running mean, by its window's figures.

    It has if the window holds at least 500 examples and the mean of its squared errors is less than
    that of the running mean by more than two standard errors of their mean difference. Otherwise
    its scores are withheld.
    """
    return figures.examples >= MIN_EXAMPLES and is_clearly_less(
        figures.rmse**2, figures.base_rmse**2, figures.standard_error
    )


def _figures(examples: int, means: list[float]) -> ValueFigures:
    mae, mse, base_mae, base_mse = means
    return ValueFigures(examples, mae, mse**0.5, base_mae, base_mse**0.5)


def _checked(scores: Float64s, labels: Float64s) -> Float64s:
    scores = np.require(scores, np.float64, ["C", "W", "A"])
    if scores.shape != labels.shape or not (abs(scores - labels) <= MAX_ERROR).all():
        raise ValueError(f"scores must be {labels.shape}, and within {MAX_ERROR:g} of labels")
    return scores


@register_example
def _precompile() -> None:
    quality = ValueQuality(1)
    quality.add(np.zeros(1), np.zeros(1), np.zeros(1))
    quality.window()
