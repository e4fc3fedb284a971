"""Fixed bands of scores, and how many persons have a score in each.

Probabilities are counted by tenths, values by powers of ten of either sign. Both are sums of the
same small intervals, so that persons are counted before it is known what their prediction predicts.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.operators.prediction import Target

_TENTHS: Final = tuple(n / 10 for n in range(1, 10))
_POWERS: Final = tuple(float(10**n) for n in range(7))  # 1 to 1,000,000
# Where bands begin, beside the one that is below all; the band of the last has all above.
_PROBABILITY_BOUNDS: Final = _TENTHS
_VALUE_BOUNDS: Final = (*(-power for power in reversed(_POWERS)), 0.0, *_POWERS)
# Every interval of a count begins at one of these, but the first, which is below all.
_BOUNDS: Final = tuple(sorted({*_PROBABILITY_BOUNDS, *_VALUE_BOUNDS}))


class ScoreCounts(NamedTuple):
    """How many persons have scores of one version in each interval; empty if nobody has.

    `complete` says whether all scores are held.
    """

    persons: Sequence[int]
    complete: bool


class BandResponse(msgspec.Struct, frozen=True):
    """How many persons have a score from `from` to below `to`.

    The last band of probabilities also has 1. Null is no bound: the first and the last band of
    values have none.
    """

    begin: float | None = msgspec.field(name="from")
    end: float | None = msgspec.field(name="to")
    persons: int


class ScoreBands:
    """How many persons have a score in each interval, by the version of a prediction."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}

    def add(self, version: int, score: float, persons: int = 1) -> None:
        """Count a score, or with -1 persons, one that is replaced or gone."""
        counts = self._counts.setdefault(version, [0] * (len(_BOUNDS) + 1))
        counts[bisect_right(_BOUNDS, score)] += persons
        if persons < 0 and not any(counts):
            del self._counts[version]

    def of(self, version: int) -> Sequence[int]:
        """Return the persons of each interval; empty if nobody has a score of the version."""
        return tuple(self._counts.get(version, ()))


def bands_of(target: Target, counts: Sequence[int]) -> list[BandResponse]:
    """Return the bands of a prediction, in order; `counts` are of one version, or empty."""
    values = target == "value"
    bounds = _VALUE_BOUNDS if values else _PROBABILITY_BOUNDS
    persons = [0] * (len(bounds) + 1)
    for begin, count in zip((-math.inf, *_BOUNDS), counts, strict=False):
        persons[bisect_right(bounds, begin)] += count
    begins, ends = (
        ((None, *bounds), (*bounds, None)) if values else ((0.0, *bounds), (*bounds, 1.0))
    )
    return [BandResponse(*band) for band in zip(begins, ends, persons, strict=True)]
