"""Counts by period and by value of a breakdown."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.breakdown import OTHER, BreakdownValues
from pipelines.engine.constants import TOTAL
from schemas.value_tokens import to_json

_FIRST_REPLACED: Final = OTHER + 2  # that of a property that is not set is never replaced
_TIMES_MORE: Final = 2  # how much more frequent than a tracked value one is that replaces it
_MAX_REPLACED: Final = 16  # of a batch


class ValueCounts:
    """Counts of one shape for each tracked value of each period."""

    def __init__(self, *shape: int) -> None:
        self.values = BreakdownValues()
        self._shape = shape
        self._periods: dict[int, Int64s] = {}
        self._persons = np.zeros(0, np.int64)  # by place, as counted by `admit` and `load_persons`

    def __contains__(self, period: int) -> bool:
        return period in self._periods

    def admit(self, tokens: Mapping[int, str], persons: UInt64s) -> set[int]:
        """Track values, before the changes of a batch are counted; return what differs now.

        `tokens` are those of the batch, by fingerprint, and `persons` the fingerprints of the
        values with which persons were counted first.
        """
        differ = {TOTAL} if self.values.admit(tokens) else set()
        places = self.values.places(persons)
        self.load_persons(places, 1)
        untracked = persons[places == OTHER]
        if len(untracked):
            keys, counts = np.unique(untracked, return_counts=True)
            counted = dict(zip(keys.tolist(), counts.tolist(), strict=True))
            self.values.count_untracked(counted)
            differ |= {TOTAL} | self._promote(
                {key: tokens[key] for key in counted if key in tokens}
            )
        return differ

    def load_persons(self, places: Int64s | int, persons: int) -> None:
        """Add persons to those of some tracked values."""
        if len(self._persons) < len(self.values):
            larger = np.zeros(len(self.values), np.int64)
            larger[: len(self._persons)] = self._persons
            self._persons = larger
        np.add.at(self._persons, places, persons)

    def _promote(self, tokens: Mapping[int, str]) -> set[int]:
        """Track the values that are far more frequent than tracked ones, in their place."""
        differ: set[int] = set()
        replaced = 0
        for key, token in tokens.items():
            if replaced == _MAX_REPLACED or len(self._persons) <= _FIRST_REPLACED:
                break
            place = _FIRST_REPLACED + int(self._persons[_FIRST_REPLACED:].argmin())
            persons = int(self._persons[place])
            if self.values.untracked_persons(key) <= _TIMES_MORE * persons:
                continue
            if self.values.replace(place, persons, key, to_json(token)):
                differ |= self._move_to_other(place)
                self._persons[place] = self.values.untracked_persons(key)
                replaced += 1
        return differ

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
        """Return the values to publish: those that are `counted` (not 0) in the period.

        In the total they are all values that have a place, so that restoring finds it again.
        """
        publish = counted != 0
        if period == TOTAL:
            publish[OTHER + 1 :] = True
        places: list[int] = np.flatnonzero(publish).tolist()
        return places


def by_period(places: Int64s, count: int) -> list[Int64s]:
    """Return the rows of each of `count` periods, given each row's place among them."""
    order = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[order], np.arange(count + 1))
    return [order[begin:end] for begin, end in pairwise(bounds.tolist())]
