"""Aggregates of metrics, which merge over partitions and over buckets."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from schemas.operators.metric import Measure
from schemas.sketches.percentiles import Percentiles
from schemas.sketches.top_values import TopValues

Sketch: TypeAlias = Percentiles | TopValues


class MetricAggregate(NamedTuple):
    """A count of events, and a summary of the values of their property.

    `unmeasured` counts the events without a value of the right type. `sketch` is that of the
    metric's measure; None if the measure has none.
    """

    events: int
    unmeasured: int = 0
    sum: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    sketch: Sketch | None = None

    def merged(self, other: "MetricAggregate") -> "MetricAggregate":
        """Return the aggregate of the events of both."""
        return MetricAggregate(
            self.events + other.events,
            self.unmeasured + other.unmeasured,
            self.sum + other.sum,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            None if self.sketch is None else _merged(self.sketch, other.sketch),
        )


def read_aggregate(measure: Measure, record: Mapping[str, Any]) -> MetricAggregate:
    """Read the aggregate of a bucket from a record of `avila.metrics`."""
    return MetricAggregate(
        record["events"],
        record["unmeasured"],
        record["sum"],
        math.inf if record["minimum"] is None else record["minimum"],
        -math.inf if record["maximum"] is None else record["maximum"],
        None if record["sketch"] is None else _read(measure, record["sketch"]),
    )


def _merged(one: Sketch, other: Sketch | None) -> Sketch:
    if isinstance(one, Percentiles):
        assert isinstance(other, Percentiles)
        return one.merged(other)
    assert isinstance(other, TopValues)
    return one.merged(other)


def _read(measure: Measure, sketch: bytes) -> Sketch:
    return Percentiles.read(sketch) if measure == "percentiles" else TopValues.read(sketch)
