"""Counts by period and by value of a breakdown."""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.breakdown import OTHER, BreakdownValues
from pipelines.engine.constants import TOTAL
from schemas.value_tokens import to_json

_FIRST_REPLACED: Final = OTHER + 2  # that of a property that is not set is never replaced
_TIMES_MORE: Final = 2  # how much more frequent than a tracked value one is that replaces it
_MAX_REPLACED: Final = 16  # of a batch

# Adds what was counted for a place to `OTHER`, and returns the periods whose record differs now.
MoveToOther: TypeAlias = Callable[[int], set[int]]


class TrackedValues:
    """The values that are tracked, and how frequent each is: the most frequent ones stay.

    What is counted (persons, events) is of the operator's choice.
    """

    def __init__(self) -> None:
        self.values = BreakdownValues()
        self._counted = np.zeros(0, np.int64)  # by place

    def admit(
        self,
        tokens: Mapping[int, str],
        keys: UInt64s,
        counts: Int64s,
        move_to_other: MoveToOther,
    ) -> set[int]:
        """Track values, before the changes of a batch are counted; return what differs now.

        `tokens` are those of the batch, by fingerprint. `keys` are different fingerprints, and
        `counts` how often each of these values is counted.
        """
        differ = {TOTAL} if self.values.admit(tokens) else set()
        places = self.values.places(keys)
        self.count(places, counts)
        untracked = places == OTHER
        if untracked.any():
            counted = dict(zip(keys[untracked].tolist(), counts[untracked].tolist(), strict=True))
            self.values.count_untracked(counted)
            known = {key: tokens[key] for key in counted if key in tokens}
            differ |= {TOTAL} | self._promote(known, move_to_other)
        return differ

    def count(self, places: Int64s | int, counts: Int64s | int) -> None:
        """Add to the frequencies of some tracked values; what is negative is taken away."""
        if len(self._counted) < len(self.values):
            larger = np.zeros(len(self.values), np.int64)
            larger[: len(self._counted)] = self._counted
            self._counted = larger
        np.add.at(self._counted, places, counts)

    def _promote(self, tokens: Mapping[int, str], move_to_other: MoveToOther) -> set[int]:
        """Track the values that are far more frequent than tracked ones, in their place."""
        differ: set[int] = set()
        replaced = 0
        for key, token in tokens.items():
            if replaced == _MAX_REPLACED or len(self._counted) <= _FIRST_REPLACED:
                break
            place = _FIRST_REPLACED + int(self._counted[_FIRST_REPLACED:].argmin())
            counted = int(self._counted[place])
            if self.values.untracked_persons(key) <= _TIMES_MORE * counted:
                continue
            if self.values.replace(place, counted, key, to_json(token)):
                differ |= move_to_other(place)
                self._counted[place] = self.values.untracked_persons(key)
                replaced += 1
        return differ

    def published(self, period: int, counted: Int64s) -> list[int]:
        """Return the values to publish: those that are `counted` (not 0) in the period.

        In the total they are all values that have a place, so that restoring finds it again.
        """
        publish = counted != 0
        if period == TOTAL:
            publish[OTHER + 1 :] = True
        places: list[int] = np.flatnonzero(publish).tolist()
        return places


class ValueCounts:
    """Counts of one shape for each tracked value of each period."""

    def __init__(self, *shape: int) -> None:
        self._tracked = TrackedValues()
        self._shape = shape
        self._periods: dict[int, Int64s] = {}

    def __contains__(self, period: int) -> bool:
        return period in self._periods

    @property
    def values(self) -> BreakdownValues:
        """The values that are tracked."""
        return self._tracked.values

    def admit(self, tokens: Mapping[int, str], persons: UInt64s) -> set[int]:
        """Track values, before the changes of a batch are counted; return what differs now.

        `tokens` are those of the batch, by fingerprint, and `persons` the fingerprints of the
        values with which persons were counted first.
        """
        keys, counts = np.unique(persons, return_counts=True)
        return self._tracked.admit(tokens, keys, counts, self._move_to_other)

    def load_persons(self, places: Int64s | int, persons: int) -> None:
        """Add persons to those of some tracked values."""
        self._tracked.count(places, persons)

    def drop(self, periods: Collection[int], column: int) -> None:
        """Forget some periods; `column` has the persons as `load_persons` takes them."""
        for period in periods:
            counts = self._periods.pop(period, None)
            if counts is not None:
                self._tracked.count(np.arange(len(counts)), -counts[:, column])

    def _move_to_other(self, place: int) -> set[int]:
        differ = set()
        for period, counts in self._periods.items():
            if place < len(counts) and counts[place].any():
                counts[OTHER] += counts[place]
                counts[place] = 0
                differ.add(period)
        return differ

    def of(self, period: int) -> Int64s:
        """Return the counts of a period, to be changed in place: one row per tracked value."""
        counts, size = self._periods.get(period), len(self.values)
        if counts is None or len(counts) < size:
            larger = np.zeros((size, *self._shape), np.int64)
            if counts is not None:
                larger[: len(counts)] = counts
            counts = self._periods[period] = larger
        return counts

    def published(self, period: int, counted: Int64s) -> list[int]:
        """Return the values to publish: see `TrackedValues.published`."""
        return self._tracked.published(period, counted)


def by_period(places: Int64s, count: int) -> list[Int64s]:
    """Return the rows of each of `count` periods, given each row's place among them."""
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(count + 1))
    return [order[begin:end] for begin, end in pairwise(bounds.tolist())]
