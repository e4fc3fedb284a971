"""Whether a difference of losses is more than chance: the same test for trainer and readers."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

# A mean that is this many of its standard errors below 0 is so by chance about once in 44 times.
STANDARD_ERRORS: Final = 2.0


def standard_error(differences: NDArray[np.float64]) -> float | None:
    """Return the standard error of the mean of paired differences (n,); None of fewer than two.

    It takes them as independent.
    """
    count = len(differences)
    if count < 2:
        return None
    return math.sqrt(float(np.var(differences, ddof=1)) / count)


def is_clearly_less(value: float, other: float, error: float | None) -> bool:
    """Return whether a mean is less than another by more than two errors of their difference.

    `error` is the standard error of the mean of their paired differences; if it is not known,
    being less is enough.
    """
    return value - other < -STANDARD_ERRORS * (error or 0.0)
