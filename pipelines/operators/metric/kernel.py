"""The fold of a metric that measures events: a batch, tallied by bucket.

Nothing is kept of a person, nor of an event: a bucket's tally is all there is, and tallies merge.
An event is late, counted and left out, if its bucket ended more than the lateness before the newest
event that came before it, or if so many buckets have begun since that it is not kept any more.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.operator import NEVER, FoldResult
from pipelines.engine.stateless import Stateless
from pipelines.matching.match import Masks, Values, dictionary_column
from schemas.operators.metric import KEPT, Measure
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.sketches.percentiles import Percentiles
from schemas.sketches.top_values import TopValues, key_of
from schemas.time.buckets import Buckets

Tallies: TypeAlias = dict[int, MetricAggregate]  # by the number of the bucket

_NO_ROWS: Final = np.empty(0, np.int32)
_NUMBERS: Final = (int, float)


class MetricFold(Stateless):
    """One metric, one partition. `newest` is the time of the newest event, `NEVER` at first.

    Folding events again that its figures have already changes nothing of it.
    """

    def __init__(
        self, measure: Measure, buckets: Buckets, lateness_ms: int, *, named: bool = False
    ) -> None:
        self.newest = NEVER
        self.lateness_ms = lateness_ms
        self._buckets = buckets
        # What it reads of the events of a batch, and what it makes of some of them.
        self._read: Callable[[Values], Any] = _nothing
        self._tally: Callable[[Any, Int64s], MetricAggregate]
        match measure:
            case "top":
                self._read, self._tally = _column, partial(_tally_keys, key_of)
            case "events" if named:
                self._read, self._tally = _column, partial(_tally_keys, _name_key)
            case "events":
                self._tally = _count
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
    ) -> FoldResult[Tallies]:
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
        read = self._read(values)
        tallies = {
            number: self._tally(read, rows)
            for number, rows in zip(present.tolist(), np.split(order, begins)[1:], strict=True)
        }
        return FoldResult(tallies, _NO_ROWS, len(at) - len(counted))


def _nothing(_: Values) -> None:
    return None


def _count(_: None, rows: Int64s) -> MetricAggregate:
    return MetricAggregate(len(rows))


def _column(values: Values) -> DictionaryColumn:
    (column,) = values
    return dictionary_column(column)


def _name_key(name: str) -> str:
    return f"s{name}"


def _tally_keys(
    name: Callable[[Any], str | None], column: DictionaryColumn, rows: Int64s
) -> MetricAggregate:
    known: dict[str, int] = {}
    unique = np.unique(column.codes[rows], return_index=True, return_counts=True)
    codes, _, counts = (numbers[np.argsort(unique[1])] for numbers in unique)  # as they came
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        key = name(column.distinct[code])
        if key is not None:
            known[key] = known.get(key, 0) + count
    return MetricAggregate(len(rows), len(rows) - sum(known.values()), sketch=TopValues.of(known))


def _numbers(values: Values) -> NDArray[np.float64]:
    """The values that are numbers, and not a number for the others."""
    return _column(values).each(_number, np.float64)


def _number(value: Any) -> float:
    return value if type(value) in _NUMBERS else np.nan


def _tally_numbers(numbers: NDArray[np.float64], rows: Int64s) -> MetricAggregate:
    finite = numbers[rows]
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return MetricAggregate(len(rows), len(rows))
    return MetricAggregate(
        len(rows),
        len(rows) - len(finite),
        float(finite.sum()),
        float(finite.min()),
        float(finite.max()),
    )


def _tally_sketched(numbers: NDArray[np.float64], rows: Int64s) -> MetricAggregate:
    measured = numbers[rows]
    sketch = Percentiles.of(measured[np.isfinite(measured)])
    return _tally_numbers(numbers, rows)._replace(sketch=sketch)
