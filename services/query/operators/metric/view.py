"""The view of the metrics' results: the latest records of each partition, merged on request."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.operators.metric import KEPT, METRIC, Metric, MetricDefinition, buckets_of
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate
from schemas.time.buckets import Buckets
from services.query.operators.breakdown import add_errors
from services.query.operators.metric.aggregates import (
    MetricAggregates,
    MetricQuery,
    ValueWindows,
    Windows,
    WindowValues,
    values_of,
)
from services.query.operators.metric.sliding import slide
from services.query.operators.metric.view_by_value import persons_by_value, windows_by_value
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class MetricRecord(NamedTuple):
    """What a partition has measured in one bucket, or its whole (`bucket` None).

    `record` has the fields of the topic's record.
    """

    version_key: VersionKey
    partition: int
    bucket: int | None  # when it begins (ms)
    record: Mapping[str, Any]
    progress: Progress

    @property
    def period(self) -> int | None:
        """The bucket; None for the partition's whole."""
        return self.bucket


class MetricResultsView(LatestByKey[MetricRecord]):
    """The latest records of all metrics."""

    def aggregates(self, definition: MetricDefinition, query: MetricQuery) -> MetricAggregates:
        """Merge the partitions' records of this version of the metric.

        Only the buckets of windows that may be shown are merged, so a small query is cheap.
        """
        metric, whole = definition.metric, self.at(definition, None)
        buckets = buckets_of(metric)
        newest = _known(one.record["newest_at"] for one in whole)
        # A partition without recent events still has buckets that the others have dropped.
        oldest = buckets.number(max(newest)) - KEPT + 1 if newest else 0
        first, last = query.needs(buckets)
        begin, end = buckets.begin(max(first, oldest)), buckets.begin(last)
        records = [
            (buckets.number(bucket), one.record)
            for bucket in self.periods(definition)
            if bucket is not None and begin <= bucket <= end
            for one in self.at(definition, bucket)
        ]
        windows: Windows
        if metric.measure == "persons":
            windows, by_value = _persons(records), persons_by_value
        else:
            windows, by_value = _windows(metric, buckets, records, query, oldest), windows_by_value
        values: ValueWindows = {}
        if metric.breakdown is not None:
            values = by_value(metric, buckets, records, query, windows)
        return MetricAggregates(
            windows=windows,
            values=values,
            values_error=add_errors(one.record["values_error"] for one in whole),
            seen=_seen(whole),
            late_dropped=sum(one.record["late_dropped"] for one in whole),
            updated_at=max((one.record["updated_at"] for one in whole), default=None),
            kept_since=buckets.begin(oldest) if newest else None,
            positions={one.partition: one.progress.position for one in whole},
            status=self.status(definition),
        )


def _known(times: Iterable[int | None]) -> list[int]:
    return [time for time in times if time is not None]


def _persons(records: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[int, WindowValues]:
    added: dict[int, list[int]] = {}
    for number, record in records:
        known, persons = added.get(number), record["persons"]
        added[number] = persons if known is None else np.add(known, persons).tolist()
    return {number: WindowValues(persons=persons) for number, persons in added.items()}


def _windows(
    metric: Metric,
    buckets: Buckets,
    records: Sequence[tuple[int, Mapping[str, Any]]],
    query: MetricQuery,
    oldest: int,
) -> dict[int, WindowValues]:
    """Return the windows that may be shown, and the present one; `oldest` is the first bucket."""
    aggregates: dict[int, MetricAggregate] = {}
    for number, record in records:
        known, aggregate = aggregates.get(number), read_aggregate(metric.measure, record)
        aggregates[number] = aggregate if known is None else known.merged(aggregate)
    first, last = query.numbers(buckets)
    ends = {number + later for number in aggregates for later in range(query.window)}
    first = max(first, oldest + query.window - 1)
    shown = sorted(number for number in ends if first <= number <= last)[-query.limit :]
    ending = {*shown, buckets.number(query.as_of)}
    slid = slide(aggregates, query.window, ending)
    return {number: values_of(metric, aggregate) for number, aggregate in slid.items()}


def _seen(whole: Iterable[MetricRecord]) -> Counter[int]:
    seen: Counter[int] = Counter()
    for one in whole:
        persons = one.record["seen"]
        if persons:
            until = one.record["seen_until"]
            seen.update(dict(zip(range(until - len(persons) + 1, until + 1), persons, strict=True)))
    return seen


def read_records(batch: pa.RecordBatch) -> list[MetricRecord]:
    """Read decoded rows as records."""
    return [
        MetricRecord(
            VersionKey(record["project_id"], record["metric_id"], record["version"]),
            record["partition"],
            record["bucket"],
            record,
            progress_of(record),
        )
        for record in batch.to_pylist()
    ]


METRIC_RESULTS: Final = ResultSource("metrics", METRIC.aggregates, read_records)
