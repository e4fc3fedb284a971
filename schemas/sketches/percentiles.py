"""Percentiles of numbers, by the KLL sketch of Apache DataSketches.

Sketches merge in any order. Up to a few hundred numbers are all kept, and percentiles are exact;
beyond that the rank of a percentile is within `RANK_ERROR` of the rank asked for with 99 %
confidence (KLL samples at random).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from datasketches import kll_doubles_sketch
from numpy.typing import NDArray

K: Final = 400
RANK_ERROR: Final[float] = kll_doubles_sketch.get_normalized_rank_error(K, False)


class Percentiles:
    """A sketch of finite numbers, of about 10 kB at most."""

    def __init__(self) -> None:
        self.sketch: Any = kll_doubles_sketch(K)

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> "Percentiles":
        """Return the sketch of some numbers."""
        made = cls()
        made.sketch.update(numbers)
        return made

    @classmethod
    def read(cls, data: bytes) -> "Percentiles":
        """Read what `bytes()` returned, or a KLL sketch of doubles in another language wrote."""
        made = cls()
        made.sketch = kll_doubles_sketch.deserialize(data)
        return made

    def __bytes__(self) -> bytes:
        data: bytes = self.sketch.serialize()
        return data

    def __len__(self) -> int:
        count: int = self.sketch.n
        return count

    def merged(self, other: "Percentiles") -> "Percentiles":
        """Return the sketch of the numbers of both; neither is changed."""
        made = Percentiles()
        made.sketch.merge(self.sketch)
        made.sketch.merge(other.sketch)
        return made

    def at(self, percents: Sequence[float]) -> list[float]:
        """Return the least number that each share in per cent does not exceed; empty if empty."""
        if not len(self):
            return []
        found: list[float] = self.sketch.get_quantiles([p / 100 for p in percents], True)
        return found
