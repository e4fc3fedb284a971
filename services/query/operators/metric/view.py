"""The view of the metrics' results: the newest figures of each partition, merged when asked."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.operators.metric import KEPT, Metric, MetricDefinition
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate
from schemas.time.buckets import Buckets
from services.query.operators.metric.response import Asked, Counted, Figure, figure_of
from services.query.operators.metric.sliding import slide
from services.query.views.latest import LatestByKey, Progress, Version, progress_of


class Result(NamedTuple):
    """One record: what a partition has measured in one bucket, or the whole (`bucket` None).

    `record` is the record as it is on the topic.
    """

    of: Version
    partition: int
    bucket: int | None  # when it begins (ms)
    record: Mapping[str, Any]
    progress: Progress

    @property
    def period(self) -> int | None:
        """Of what it is: a bucket, or None for the whole."""
        return self.bucket


class Results(LatestByKey[Result]):
    """The newest records of all metrics."""

    def figures(self, definition: MetricDefinition, asked: Asked) -> Counted:
        """Merge what the partitions say of this version of the metric.

        Only buckets of windows that may be shown are merged: a look at little costs little.
        """
        metric, whole = definition.metric, self.at(definition, None)
        buckets = Buckets(metric.bucket_s, metric.timezone)
        newest = _known(result.record["newest_at"] for result in whole)
        # A partition that had no event lately still has buckets which others have let go of.
        oldest = buckets.number(max(newest)) - KEPT if newest else 0
        first, last = asked.needs(buckets)
        begin, end = buckets.begin(max(first, oldest + 1)), buckets.begin(last)
        records = [
            (buckets.number(bucket), result.record)
            for bucket in self.periods(definition)
            if bucket is not None and begin <= bucket <= end
            for result in self.at(definition, bucket)
        ]
        return Counted(
            figures=(
                _persons(records)
                if metric.measure == "persons"
                else _tallied(metric, buckets, records, asked)
            ),
            seen=_seen(whole),
            late_dropped=sum(result.record["late_dropped"] for result in whole),
            complete_until=min(
                _known(result.record["complete_until"] for result in whole), default=None
            ),
            updated_at=max((result.record["updated_at"] for result in whole), default=None),
            positions={result.partition: result.progress.position for result in whole},
            status=self.status(definition),
        )


def _known(times: Iterable[int | None]) -> list[int]:
    return [time for time in times if time is not None]


def _persons(records: Iterable[tuple[int, Mapping[str, Any]]]) -> dict[int, Figure]:
    added: dict[int, list[int]] = {}
    for number, record in records:
        known, persons = added.get(number), record["persons"]
        added[number] = persons if known is None else np.add(known, persons).tolist()
    return {number: Figure(persons=persons) for number, persons in added.items()}


def _tallied(
    metric: Metric,
    buckets: Buckets,
    records: Iterable[tuple[int, Mapping[str, Any]]],
    asked: Asked,
) -> dict[int, Figure]:
    """The windows that may be shown, and the one of now."""
    tallies: dict[int, MetricAggregate] = {}
    for number, record in records:
        known, tally = tallies.get(number), read_aggregate(metric.measure, record)
        tallies[number] = tally if known is None else known.merged(tally)
    first, last = asked.numbers(buckets)
    ends = {number + later for number in tallies for later in range(asked.window)}
    shown = sorted(number for number in ends if first <= number <= last)[-asked.limit :]
    wanted = {*shown, buckets.number(asked.as_of)}
    slid = slide(tallies, asked.window, wanted)
    return {number: figure_of(metric, tally) for number, tally in slid.items()}


def _seen(whole: Iterable[Result]) -> Counter[int]:
    seen: Counter[int] = Counter()
    for result in whole:
        persons = result.record["seen"]
        if persons:
            until = result.record["seen_until"]
            seen.update(dict(zip(range(until - len(persons) + 1, until + 1), persons, strict=True)))
    return seen


def read_results(batch: pa.RecordBatch) -> list[Result]:
    """Make results of decoded records."""
    return [
        Result(
            (record["project_id"], record["metric_id"], record["version"]),
            record["partition"],
            record["bucket"],
            record,
            progress_of(record),
        )
        for record in batch.to_pylist()
    ]
