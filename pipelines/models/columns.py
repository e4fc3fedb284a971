"""The columns that the kernels of linear models read and write."""

from typing import Final, NamedTuple

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Float64s

# Losses, of which a model has one.
LOG: Final = 0
SQUARED: Final = 1

# Optimizers, of which a model has one.
SGD: Final = 0
ADAGRAD: Final = 1


class Rule(NamedTuple):
    """How a linear model learns.

    The exponents are always 0.5 and 2. They are arguments of the kernels so that these call `pow`
    of the C library, as Python does for River: of an exponent that the compiler knows it makes a
    square root or a product, which round differently.
    """

    loss: int
    optimizer: int
    learning_rate: float
    intercept_rate: float
    epsilon: float
    half: float = 0.5
    two: float = 2.0


class LinearColumns(NamedTuple):
    """A scaler and a linear model: all arrays are (features,), and the last three (1,) or scratch.

    `deviations` is `variances ** 0.5`, kept so that a prediction calls no `pow`. `squares` are the
    sums of squared gradients of AdaGrad; with SGD they stay 0. `scaled` is scratch.
    """

    means: Float64s
    variances: Float64s
    deviations: Float64s
    weights: Float64s
    squares: Float64s
    scaled: Float64s
    intercept: Float64s
    learned: Int64s
