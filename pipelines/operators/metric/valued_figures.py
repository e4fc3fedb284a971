"""What is measured of events by value of a property: a row of numbers for each value of a bucket.

All of them are 64-bit floats. As counts they are exact up to 2⁵³.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.breakdown import OTHER, BreakdownValues
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Record
from pipelines.engine.value_counts import TrackedValues, by_period
from pipelines.matching.value_hash import ValueHashes

# The numbers of a row.
_EVENTS, _UNMEASURED, _SUM, _MINIMUM, _MAXIMUM = range(5)
_ADDED: Final = slice(_EVENTS, _SUM + 1)  # those that add up
_NOTHING: Final = np.array([0.0, 0.0, 0.0, np.inf, -np.inf])


class ValuedFigures(NamedTuple):
    """What a batch comes to: for each row, its bucket, its value's fingerprint, and its numbers.

    `tokens` are those of the values, by fingerprint.
    """

    buckets: Int64s
    keys: UInt64s
    figures: Float64s
    tokens: Mapping[int, str]


def measure_values(buckets: Int64s, values: ValueHashes, numbers: Float64s | None) -> ValuedFigures:
    """Measure events by bucket and value, given these of each event.

    `numbers` are what is measured, not finite for events without a number; None if the events are
    only counted.
    """
    order = np.lexsort((values.numbers, buckets))
    sorted_buckets, sorted_keys = buckets[order], values.numbers[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (sorted_buckets[1:] != sorted_buckets[:-1]) | (sorted_keys[1:] != sorted_keys[:-1])
    rows = np.empty(len(order), np.int64)
    rows[order] = np.cumsum(begins) - 1
    figures = np.tile(_NOTHING, (int(begins.sum()), 1))
    np.add.at(figures[:, _EVENTS], rows, 1)
    if numbers is not None:
        measured = np.isfinite(numbers)
        np.add.at(figures[:, _UNMEASURED], rows[~measured], 1)
        rows, numbers = rows[measured], numbers[measured]
        np.add.at(figures[:, _SUM], rows, numbers)
        np.minimum.at(figures[:, _MINIMUM], rows, numbers)
        np.maximum.at(figures[:, _MAXIMUM], rows, numbers)
    return ValuedFigures(
        sorted_buckets[begins], sorted_keys[begins], figures, values.tokens_by_number()
    )


class ValueFigures:
    """What was measured in each bucket of each tracked value."""

    def __init__(self) -> None:
        self._tracked = TrackedValues()
        self._buckets: dict[int, Float64s] = {}  # by place

    @property
    def values(self) -> BreakdownValues:
        """The values that are tracked."""
        return self._tracked.values

    def apply(self, changes: ValuedFigures) -> set[int]:
        """Merge changes in; return the buckets whose record differs now, `TOTAL` included."""
        keys, which = np.unique(changes.keys, return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, which, changes.figures[:, _EVENTS].astype(np.int64))
        differ = self._tracked.admit(changes.tokens, keys, counts, self._move_to_other)
        places = self.values.places(changes.keys)
        numbers, of_number = np.unique(changes.buckets, return_inverse=True)
        for number, rows in zip(numbers.tolist(), by_period(of_number, len(numbers)), strict=True):
            _merge(self._of(number), places[rows], changes.figures[rows])
            differ.add(number)
        return differ

    def drop(self, numbers: Collection[int]) -> None:
        """Forget some buckets."""
        for number in numbers:
            figures = self._buckets.pop(number, None)
            if figures is not None:
                counts = -figures[:, _EVENTS].astype(np.int64)
                self._tracked.count(np.arange(len(figures)), counts)

    def records(self, number: int) -> list[Record]:
        """Return what is published of a bucket by value, or of `TOTAL`: all tracked values."""
        figures = np.tile(_NOTHING, (len(self.values), 1)) if number == TOTAL else self._of(number)
        places = self._tracked.published(number, figures[:, _EVENTS].astype(np.int64))
        return [self._record(place, figures[place]) for place in places]

    def load(self, number: int, records: list[Record]) -> None:
        """Continue from what was published of a bucket, or of `TOTAL`, last of all."""
        self.drop([number])
        for record in records:
            place = self.values.load(record["value"])
            if number != TOTAL:
                _merge(self._of(number), np.array([place]), _figures_of(record))
                self._tracked.count(place, record["events"])

    def _of(self, number: int) -> Float64s:
        figures, size = self._buckets.get(number), len(self.values)
        if figures is None or len(figures) < size:
            larger = np.tile(_NOTHING, (size, 1))
            if figures is not None:
                larger[: len(figures)] = figures
            figures = self._buckets[number] = larger
        return figures

    def _move_to_other(self, place: int) -> set[int]:
        differ = set()
        for number, figures in self._buckets.items():
            if place < len(figures) and figures[place, _EVENTS]:
                _merge(figures, np.array([OTHER]), figures[place : place + 1].copy())
                figures[place] = _NOTHING
                differ.add(number)
        return differ

    def _record(self, place: int, figures: Float64s) -> Record:
        events, unmeasured, total, minimum, maximum = figures.tolist()
        return {
            "value": self.values.values[place],
            "events": int(events),
            "unmeasured": int(unmeasured),
            "sum": total,
            "minimum": minimum if np.isfinite(minimum) else None,
            "maximum": maximum if np.isfinite(maximum) else None,
            "persons": [],
        }


def _figures_of(record: Record) -> Float64s:
    figures = _NOTHING.copy()
    figures[_ADDED] = record["events"], record["unmeasured"], record["sum"]
    if record["minimum"] is not None:
        figures[_MINIMUM] = record["minimum"]
    if record["maximum"] is not None:
        figures[_MAXIMUM] = record["maximum"]
    return figures[None, :]


def _merge(into: Float64s, places: Int64s, figures: Float64s) -> None:
    np.add.at(into[:, _ADDED], places, figures[:, _ADDED])
    np.minimum.at(into[:, _MINIMUM], places, figures[:, _MINIMUM])
    np.maximum.at(into[:, _MAXIMUM], places, figures[:, _MAXIMUM])
