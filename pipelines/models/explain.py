"""Why rows have their scores, as far as a model can say."""

from typing import NamedTuple

from pipelines.columnar.jit import Int32s
from pipelines.models.arrays import Float64s


class Contributions(NamedTuple):
    """Which features move the score of a row most: both arrays are (rows, k), largest first.

    `features` are columns of a row, `values` the weight times the scaled value, in the unit of the
    raw prediction (for a logistic regression, log odds).
    """

    features: Int32s
    values: Float64s
