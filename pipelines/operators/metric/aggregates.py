"""The aggregates of one metric of events in one partition: one for each of the newest buckets."""

import math
from collections.abc import Iterator

from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Record
from pipelines.operators.metric.state import BucketAggregates, MetricChanges
from pipelines.operators.metric.valued_figures import ValueFigures
from schemas.operators.metric import KEPT, Measure
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate


class MetricAggregates:
    """What was measured, by the number of the bucket, and if it is broken down, by value."""

    def __init__(self, measure: Measure, *, broken_down: bool = False) -> None:
        self._measure: Measure = measure
        self._buckets: BucketAggregates = {}
        self._by_value = ValueFigures() if broken_down else None

    def __iter__(self) -> Iterator[int]:
        """Yield the buckets that have a record."""
        return iter(self._buckets)

    def apply(self, changes: MetricChanges) -> set[int]:
        """Merge changes in; return the buckets whose record differs now, or is to be deleted."""
        before = set(self._buckets)
        for number, aggregate in changes.buckets.items():
            known = self._buckets.get(number)
            self._buckets[number] = aggregate if known is None else known.merged(aggregate)
        oldest = max(self._buckets, default=0) - KEPT
        gone = {number for number in self._buckets if number <= oldest}
        for number in gone:
            del self._buckets[number]
        differ = set(changes.buckets)
        if self._by_value is not None and changes.by_value is not None:
            differ |= self._by_value.apply(changes.by_value)
            self._by_value.drop(gone)
        return (differ - gone) | (before & gone)

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
            "breakdown": [] if self._by_value is None else self._by_value.records(number),
        }

    def total_record(self) -> Record:
        """Return what is published of all buckets together: the values that are tracked."""
        if self._by_value is None:
            return {}
        return {
            "breakdown": self._by_value.records(TOTAL),
            "values_error": self._by_value.values.error,
        }

    def load(self, number: int, record: Record) -> None:
        """Continue from the published record of a bucket."""
        self._buckets[number] = read_aggregate(self._measure, record)
        if self._by_value is not None:
            self._by_value.load(number, record["breakdown"])

    def load_total(self, newest: int, record: Record) -> None:  # noqa: ARG002 (see `load`)
        """Continue from the published record of the total."""
        if self._by_value is not None:
            self._by_value.load(TOTAL, record["breakdown"])
            self._by_value.values.load_error(record["values_error"])
