"""What a metric measures: the events of a bucket, summarized into one `MetricAggregate`.

A measure reads the columns of a batch once and returns a function that summarizes some of its
events, given by their places in the batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.jit import Int64s
from pipelines.matching.match import Values, dictionary_column
from schemas.operators.metric import Measure
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.sketches.percentiles import Percentiles
from schemas.sketches.top_values import TopValues, key_of

Summarize: TypeAlias = Callable[[Int64s], MetricAggregate]

_COUNTED: Final[frozenset[Measure]] = frozenset({"events", "top"})  # what reads no numbers


def summarizer(measure: Measure, *, by_event: bool) -> Callable[[Values], Summarize]:
    """Return the function that reads a batch's columns for a measure of events."""
    match measure:
        case "top":
            return partial(_frequencies, key_of)
        case "events" if by_event:
            return partial(_frequencies, _name_key)
        case "events":
            return _counts
        case "percentiles":
            return _distributions
        case _:
            return _sums


def read_numbers(measure: Measure, values: Values) -> Float64s | None:
    """Return what a measure reads of events, NaN for no number; None if it reads no numbers."""
    return None if measure in _COUNTED else _numbers(values)


def _counts(_: Values) -> Summarize:
    return lambda events: MetricAggregate(len(events))


def _frequencies(key: Callable[[object], str | None], values: Values) -> Summarize:
    return partial(_summarize_keys, key, _column(values))


def _sums(values: Values) -> Summarize:
    return partial(_summarize_numbers, _numbers(values))


def _distributions(values: Values) -> Summarize:
    return partial(_summarize_distribution, _numbers(values))


def _column(values: Values) -> DictionaryColumn:
    (column,) = values
    return dictionary_column(column)


def _name_key(name: object) -> str:
    return f"s{name}"


def _summarize_keys(
    key: Callable[[object], str | None], column: DictionaryColumn, events: Int64s
) -> MetricAggregate:
    known: dict[str, int] = {}
    codes, first, counts = np.unique(column.codes[events], return_index=True, return_counts=True)
    in_order = np.argsort(first)  # of appearance
    for code, count in zip(codes[in_order].tolist(), counts[in_order].tolist(), strict=True):
        name = key(column.distinct[code])
        if name is not None:
            known[name] = known.get(name, 0) + count
    unmeasured = len(events) - sum(known.values())
    return MetricAggregate(len(events), unmeasured, sketch=TopValues.of(known))


def _numbers(values: Values) -> Float64s:
    """Return the values that are numbers, NaN in place of the others."""
    return _column(values).each(_number, np.float64)


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else np.nan


def _summarize_numbers(numbers: Float64s, events: Int64s) -> MetricAggregate:
    finite = numbers[events]
    finite = finite[np.isfinite(finite)]
    unmeasured = len(events) - len(finite)
    if not len(finite):
        return MetricAggregate(len(events), unmeasured)
    return MetricAggregate(
        len(events), unmeasured, float(finite.sum()), float(finite.min()), float(finite.max())
    )


def _summarize_distribution(numbers: Float64s, events: Int64s) -> MetricAggregate:
    measured = numbers[events]
    sketch = Percentiles.of(measured[np.isfinite(measured)])
    return _summarize_numbers(numbers, events)._replace(sketch=sketch)
