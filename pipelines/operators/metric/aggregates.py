"""The figures of one metric in one partition: tallies by bucket, of the newest buckets."""

import math
from collections.abc import Iterator
from typing import Any

from pipelines.operators.metric.kernel import Tallies
from schemas.operators.metric import KEPT, Measure
from schemas.sketches.metric_aggregate import MetricAggregate, read_aggregate


class MetricAggregates:
    """Tallies of events by the number of their bucket."""

    def __init__(self, measure: Measure) -> None:
        self._measure: Measure = measure
        self._tallies: Tallies = {}

    def __iter__(self) -> Iterator[int]:
        """The buckets that there are figures of."""
        return iter(self._tallies)

    def apply(self, changes: Tallies) -> set[int]:
        """Add what was tallied; returns the buckets that differ now, those let go of too."""
        before = set(self._tallies)
        for number, tally in changes.items():
            known = self._tallies.get(number)
            self._tallies[number] = tally if known is None else known.merged(tally)
        oldest = max(self._tallies, default=0) - KEPT
        gone = {number for number in self._tallies if number <= oldest}
        for number in gone:
            del self._tallies[number]
        return (changes.keys() - gone) | (before & gone)

    def tally(self, number: int) -> MetricAggregate | None:
        """What a bucket has; None if it has nothing, or is not kept any more."""
        return self._tallies.get(number)

    def record(self, number: int) -> dict[str, Any] | None:
        """What is published of a bucket; None if that is to be deleted."""
        tally = self._tallies.get(number)
        if tally is None:
            return None
        return {
            "events": tally.events,
            "unmeasured": tally.unmeasured,
            "sum": tally.sum,
            "minimum": tally.minimum if math.isfinite(tally.minimum) else None,
            "maximum": tally.maximum if math.isfinite(tally.maximum) else None,
            "sketch": None if tally.sketch is None else bytes(tally.sketch),
        }

    def whole(self) -> dict[str, Any]:
        """What is published of all buckets together: nothing."""
        return {}

    def load(self, number: int, record: dict[str, Any]) -> None:
        """Take over a bucket as it was published."""
        self._tallies[number] = read_aggregate(self._measure, record)

    def load_whole(self, newest: int, record: dict[str, Any]) -> None:
        """Nothing: the newest bucket is the newest that there are figures of."""
