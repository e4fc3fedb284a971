"""Percentiles of numbers, in the KLL sketch of Apache DataSketches.

Sketches of parts of the numbers merge into one of all of them, in any order. Up to some hundreds of
numbers are all kept, and the answers exact; beyond, the rank of an answer is within `RANK_ERROR` of
the one asked for, with 99 % confidence (KLL chooses at random what it keeps).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from datasketches import kll_doubles_sketch
from numpy.typing import NDArray

K: Final = 400
RANK_ERROR: Final[float] = kll_doubles_sketch.get_normalized_rank_error(K, False)


class Percentiles:
    """Finite numbers, of which a bounded part is kept: at most some 10 kB."""

    def __init__(self) -> None:
        self.sketch: Any = kll_doubles_sketch(K)

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> "Percentiles":
        """Sketch some numbers."""
        made = cls()
        made.sketch.update(numbers)
        return made

    @classmethod
    def read(cls, data: bytes) -> "Percentiles":
        """Read what `bytes()` wrote, here or by a KLL sketch of doubles in another language."""
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
        """A sketch of the numbers of both, which stay as they are."""
        made = Percentiles()
        made.sketch.merge(self.sketch)
        made.sketch.merge(other.sketch)
        return made

    def at(self, percents: Sequence[float]) -> list[float]:
        """For each of them, the least number that so many per cent do not exceed; none if empty."""
        if not len(self):
            return []
        found: list[float] = self.sketch.get_quantiles([p / 100 for p in percents], True)
        return found
