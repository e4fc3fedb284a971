"""Losses and running means as River's metrics compute them, to the last bit.

`log` and `pow` are those of the C library, as for River; exponents are arguments for the reason
given at `Rule`.
"""

import math

import numpy as np

from pipelines.columnar.jit import Int, Int64s, kernel
from pipelines.models.arrays import Float, Float64s

BINS = 10
LEAST_SCORE = 1e-15


@kernel
def log_losses(scores: Float64s, labels: Float64s, losses: Float64s) -> None:
    """Write the log loss of each score; scores are limited to 1e-15 … 1 - 1e-15 before."""
    for i in range(len(scores)):
        score = min(max(scores[i], LEAST_SCORE), 1.0 - LEAST_SCORE)
        losses[i] = -math.log(score if labels[i] != 0.0 else 1.0 - score)


@kernel
def errors(
    scores: Float64s, labels: Float64s, two: Float, absolute: Float64s, squared: Float64s
) -> None:
    """Write the absolute and the squared error of each score."""
    for i in range(len(scores)):
        error = labels[i] - scores[i]
        absolute[i] = abs(error)
        squared[i] = error**two


@kernel
def advance(means: Float64s, column: int, count: int, values: Float64s) -> None:
    """Take values into the running mean `means[column]`, which is of `count` values before."""
    for i in range(len(values)):
        weight = np.true_divide(1.0, np.float64(count + 1 + i))
        means[column] += weight * (values[i] - means[column])


@kernel
def mean_of(values: Float64s) -> Float:
    """Return the sum of the values, first to last, divided by their number; 0 of none."""
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return np.true_divide(total, len(values)) if len(values) else 0.0


@kernel
def count_bins(scores: Float64s, labels: Float64s, counts: Int64s, sums: Float64s) -> None:
    """Count each score in the bin of its tenth: scores (`sums`), and `counts` (all, positives)."""
    for i in range(len(scores)):
        place: Int = min(max(np.int64(scores[i] * BINS), 0), BINS - 1)
        counts[place, 0] += 1
        counts[place, 1] += np.int64(labels[i] != 0.0)
        sums[place] += scores[i]
