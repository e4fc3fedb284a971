"""A set of numbered persons with their names."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from pyroaring import BitMap


class Crowd(NamedTuple):
    """Some persons: their numbers, and the names of all numbers. Safe to give to another thread."""

    numbers: BitMap
    names: Sequence[str]

    def page(self, after: str, limit: int) -> list[str]:
        """Return the first names after `after`, in order; takes longer the larger the crowd is."""
        names = (self.names[number] for number in self.numbers)
        return heapq.nsmallest(limit, (name for name in names if name > after))

    def all(self, after: str = "") -> list[str]:
        """Return the names after `after`, in order; takes longer the larger the crowd is."""
        names = (self.names[number] for number in self.numbers)
        return sorted(name for name in names if name > after)
