"""The aggregates of one metric of events in one partition: one for each of the newest buckets."""

import math
from collections.abc import Iterator

from pipelines.engine.operator import Record
from pipelines.operators.metric.state import BucketAggregates
from schemas.operators.metric import KEPT, Measure
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate


class MetricAggregates:
    """What was measured, by the number of the bucket."""

    def __init__(self, measure: Measure) -> None:
        self._measure: Measure = measure
        self._buckets: BucketAggregates = {}

    def __iter__(self) -> Iterator[int]:
        """Yield the buckets that have a record."""
        return iter(self._buckets)

    def apply(self, changes: BucketAggregates) -> set[int]:
        """Merge changes in; return the buckets whose record differs now, or is to be deleted."""
        before = set(self._buckets)
        for number, aggregate in changes.items():
            known = self._buckets.get(number)
            self._buckets[number] = aggregate if known is None else known.merged(aggregate)
        oldest = max(self._buckets, default=0) - KEPT
        gone = {number for number in self._buckets if number <= oldest}
        for number in gone:
            del self._buckets[number]
        return (changes.keys() - gone) | (before & gone)

    def succeed(self, before: "MetricAggregates") -> None:
        """Do nothing: every bucket that `before` has is counted again, or is no longer kept."""

    def bucket(self, number: int) -> MetricAggregate | None:
        """Return the aggregate of a bucket; None if it has no events or is no longer kept."""
        return self._buckets.get(number)

    def record(self, number: int) -> Record | None:
        """Return what is published of a bucket; None if its record is to be deleted."""
        aggregate = self._buckets.get(number)
        if aggregate is None:
            return None
        return {
            "events": aggregate.events,
            "unmeasured": aggregate.unmeasured,
            "sum": aggregate.sum,
            "minimum": aggregate.minimum if math.isfinite(aggregate.minimum) else None,
            "maximum": aggregate.maximum if math.isfinite(aggregate.maximum) else None,
            "sketch": None if aggregate.sketch is None else bytes(aggregate.sketch),
        }

    def total_record(self) -> Record:
        """Return what is published of all buckets together: nothing."""
        return {}

    def load(self, number: int, record: Record) -> None:
        """Continue from the published record of a bucket."""
        self._buckets[number] = read_aggregate(self._measure, record)

    def load_total(self, newest: int, record: Record) -> None:
        """Do nothing: the newest bucket is known from the buckets' own records."""
