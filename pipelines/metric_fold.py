"""The fold of a metric that measures events: a batch, tallied by bucket.

Nothing is kept of a person, nor of an event: a bucket's tally is all there is, and tallies merge.
An event is late, counted and left out, if its bucket ended more than the lateness before the newest
event that came before it, or if so many buckets have begun since that it is not kept any more.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel import Int32s, Int64s
from pipelines.no_rows import NoRows
from pipelines.operators import NEVER, Folded, Masks, Values
from schemas.buckets import Buckets
from schemas.metrics import KEPT, Measure
from schemas.percentiles import Percentiles
from schemas.tally import Tally
from schemas.top_values import TopValues, key_of

Tallies: TypeAlias = dict[int, Tally]  # by the number of the bucket

_NO_ROWS: Final = np.empty(0, np.int32)
_NUMBERS: Final = (int, float)


class MetricFold(NoRows):
    """One metric, one partition. `newest` is the time of the newest event, `NEVER` at first.

    Folding events again that its figures have already changes nothing of it.
    """

    def __init__(
        self, measure: Measure, buckets: Buckets, lateness_ms: int, *, named: bool = False
    ) -> None:
        self.newest = NEVER
        self.lateness_ms = lateness_ms
        self._buckets = buckets
        self._read: Callable[[Values, Int64s], Any]
        self._tally: Callable[[Any, int], Tally]  # of what was read of so many events
        match measure:
            case "top":
                self._read, self._tally = _keys, _tally_keys
            case "events" if named:
                self._read, self._tally = _names, _tally_keys
            case "events":
                self._read, self._tally = _nothing, _count
            case "percentiles":
                self._read, self._tally = _numbers, _tally_sketched
            case _:
                self._read, self._tally = _numbers, _tally_numbers

    def fold(
        self,
        persons: int,  # noqa: ARG002 (whose events they are does not matter)
        slots: Int32s,  # noqa: ARG002 (see `persons`)
        at: Int64s,
        masks: Masks,  # noqa: ARG002 (there is one look)
        offsets: Int64s,  # noqa: ARG002 (no rows are restored)
        values: Values = (),
    ) -> Folded:
        """Tally events in order of arrival; see `PersonState.fold`. The changes are `Tallies`."""
        numbers = self._buckets.numbers(at)
        newest = np.maximum(np.maximum.accumulate(at), self.newest)
        earliest = np.maximum(
            self._buckets.numbers(newest - self.lateness_ms),
            self._buckets.numbers(newest) - KEPT + 1,
        )
        counted = np.flatnonzero(numbers >= earliest)
        self.newest = int(newest[-1])
        order = counted[np.argsort(numbers[counted], kind="stable")]
        present, begins = np.unique(numbers[order], return_index=True)
        ends = [*begins[1:], len(order)] if len(order) else []
        read = self._read(values, order)
        tallies = {
            number: self._tally(read[begin:end], int(end - begin))
            for number, begin, end in zip(present.tolist(), begins, ends, strict=True)
        }
        return Folded(tallies, _NO_ROWS, len(at) - len(counted))


def _nothing(_: Values, order: Int64s) -> Int64s:
    return order


def _count(_: Any, events: int) -> Tally:
    return Tally(events)


def _names(values: Values, order: Int64s) -> list[str]:
    (names,) = values
    return [f"s{names[row]}" for row in order.tolist()]


def _keys(values: Values, order: Int64s) -> list[str | None]:
    (column,) = values
    return [key_of(column[row]) for row in order.tolist()]


def _tally_keys(keys: Sequence[str | None], events: int) -> Tally:
    known = [key for key in keys if key is not None]
    return Tally(events, events - len(known), sketch=TopValues.of(known))


def _numbers(values: Values, order: Int64s) -> NDArray[np.float64]:
    """The values that are numbers, and not a number for the others."""
    (column,) = values
    numbers = [value if type(value) in _NUMBERS else np.nan for value in column]
    return np.array(numbers, np.float64)[order]


def _tally_numbers(numbers: NDArray[np.float64], events: int) -> Tally:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return Tally(events, events)
    return Tally(
        events,
        events - len(finite),
        float(finite.sum()),
        float(finite.min()),
        float(finite.max()),
    )


def _tally_sketched(numbers: NDArray[np.float64], events: int) -> Tally:
    sketch = Percentiles.of(numbers[np.isfinite(numbers)])
    return _tally_numbers(numbers, events)._replace(sketch=sketch)
