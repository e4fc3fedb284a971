"""What the partitions have published of a metric by value, merged for the values that are shown."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from schemas.operators.metric import Metric
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate
from schemas.time.buckets import Buckets
from schemas.value_tokens import token_of_json
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.metric.aggregates import (
    MetricQuery,
    ValueWindows,
    Windows,
    WindowValues,
    values_of,
)
from services.query.operators.metric.sliding import slide

# The published records, by the numbers of their buckets.
Records = Sequence[tuple[int, Mapping[str, Any]]]


def windows_by_value(
    metric: Metric, buckets: Buckets, records: Records, query: MetricQuery, windows: Windows
) -> ValueWindows:
    """Return the windows of a metric of events by value; `windows` are those of all values."""
    ranges = query.ranked(metric, buckets, windows)
    shown = _top_values(records, ranges, lambda one: one["events"])
    merged: defaultdict[str | None, dict[int, MetricAggregate]] = defaultdict(dict)
    for number, one in _values(records):
        value = one["value"] if one["value"] in shown else None
        aggregate = read_aggregate(metric.measure, {**one, "sketch": None})
        known = merged[value].get(number)
        merged[value][number] = aggregate if known is None else known.merged(aggregate)
    ending = {*query.endings(buckets, windows), buckets.number(query.as_of)}
    return {
        value: {
            number: values_of(metric, aggregate)
            for number, aggregate in slide(merged[value], query.window, ending).items()
        }
        for value in (*shown, None)
        if value in merged
    }


def persons_by_value(
    metric: Metric, buckets: Buckets, records: Records, query: MetricQuery, windows: Windows
) -> ValueWindows:
    """Return the same of a metric of persons, each of whom counts for one value in a window."""
    ranges = query.ranked(metric, buckets, windows)
    shown = _top_values(records, ranges, lambda one: one["persons"][0])
    merged: defaultdict[str | None, dict[int, list[int]]] = defaultdict(dict)
    for number, one in _values(records):
        value = one["value"] if one["value"] in shown else None
        known = merged[value].get(number, [0] * len(one["persons"]))
        merged[value][number] = np.add(known, one["persons"]).tolist()
    return {
        value: {
            number: WindowValues(persons=[max(0, count) for count in persons])
            for number, persons in merged[value].items()
            if any(persons)
        }
        for value in (*shown, None)
        if value in merged
    }


def _values(records: Records) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, record in records:
        for one in record["breakdown"]:
            yield number, one


def _top_values(
    records: Records,
    ranges: Sequence[tuple[int, int]],
    count: Callable[[Mapping[str, Any]], int],
) -> list[str]:
    """Return the most frequent values of some buckets, those of equal counts by their tokens."""
    counts: Counter[str] = Counter()
    for number, one in _values(records):
        if one["value"] is not None and any(first <= number <= last for first, last in ranges):
            counts[one["value"]] += count(one)
    found = [value for value, counted in counts.items() if counted > 0]
    return sorted(found, key=lambda value: (-counts[value], token_of_json(value)))[:MAX_SHOWN]
