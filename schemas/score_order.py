"""Scores as whole numbers in the same order, in which states of persons keep them."""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_SCORE: Final = -(2**63)  # of a person without one; lower than any score
_MAGNITUDE: Final = 2**63 - 1
_AS_INT: Final = struct.Struct("<q")
_AS_FLOAT: Final = struct.Struct("<d")


def ordered(score: float) -> int:
    """Return a number for a score: the higher the score, the higher the number."""
    (bits,) = _AS_INT.unpack(_AS_FLOAT.pack(score + 0.0))  # there is one zero
    return int(bits) if bits >= 0 else int(bits) ^ _MAGNITUDE


def ordered_all(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return `ordered` of each score, and `NO_SCORE` for those that are not a number."""
    bits = (scores + 0.0).view(np.int64)
    found = np.where(bits >= 0, bits, bits ^ np.int64(_MAGNITUDE))
    return np.where(np.isfinite(scores), found, np.int64(NO_SCORE))


LOWEST: Final = ordered(-float("inf"))
