"""What is measured of a metric, on the stream or by ClickHouse."""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from schemas.operators.metric import ACTIVE_S, Metric, asked_of
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.sketches.percentiles import Percentiles
from schemas.sketches.top_values import TopValues, Value
from schemas.time.buckets import Buckets
from services.query.views.progress import LIVE, StatusResponse


class WindowValues(NamedTuple):
    """The measurements of a window of buckets."""

    events: int = 0
    unmeasured: int = 0
    sum: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    percentiles: list[float] | None = None  # those of the metric, in their order
    top: list[tuple[Value, int]] | None = None
    other: int = 0
    off_by: int = 0
    persons: list[int] | None = None  # in each of the trailing windows


# By the number of the bucket that ends a window.
Windows: TypeAlias = Mapping[int, WindowValues]
# By the value in JSON, the most frequent first; None for all others together.
ValueWindows: TypeAlias = Mapping[str | None, Windows]


class MetricAggregates(NamedTuple):
    """All that is measured of a metric, and how far it is (`status`).

    `windows` are by the number of the bucket that ends them; all of their buckets begin at
    `kept_since` (ms) or later, which is None before the first event. `seen` is for the measure
    `persons`: how many were last active in each second since 1970. `values` are the windows by
    value of the metric's breakdown, and `values_error` says how many events or persons a value may
    lack at most; None if they are exact.
    """

    windows: Windows
    seen: Mapping[int, int]
    late_dropped: int
    updated_at: int | None
    kept_since: int | None
    positions: Mapping[int, int]
    status: StatusResponse = LIVE
    values: ValueWindows = MappingProxyType({})
    values_error: int | None = None


class MetricQuery(NamedTuple):
    """Which windows a request is for.

    They have `window` buckets each, and end with the last `limit` buckets that begin from `first`
    to `last` (ms) and have begun by `as_of`, a time of day. `clock` is the project's time then,
    None before its first event, and `lateness_ms` how late events may come. All events that were
    acknowledged before `read_until` have been read, None if that is unknown.
    """

    as_of: int
    window: int = 1
    first: int = 0
    last: int = 2**62
    limit: int = 100
    clock: int | None = None
    lateness_ms: int = 0
    read_until: int | None = 2**62

    @property
    def complete_until(self) -> int | None:
        """The time (ms) before which buckets are final, but for events that come too late."""
        if self.clock is None or self.read_until is None:
            return None
        return min(self.clock, self.read_until) - self.lateness_ms

    def numbers(self, buckets: Buckets) -> tuple[int, int]:
        """Return the first and the last bucket that may be shown.

        No event is before 1970, and no bucket that begins after `as_of` is shown: calendars reach
        no further than requests may.
        """
        last = buckets.number(max(0, min(self.last, self.as_of)))
        if self.first > self.as_of or self.last < 0:
            return last + 1, last
        first = buckets.number(max(0, self.first))
        if self.first > 0 and buckets.begin(first) < self.first:
            first += 1
        return first, last

    def endings(self, buckets: Buckets, measured: Iterable[int]) -> list[int]:
        """Return which of the buckets that end windows are shown, in order."""
        first, last = self.numbers(buckets)
        return sorted(number for number in measured if first <= number <= last)[-self.limit :]

    def ranked(
        self, metric: Metric, buckets: Buckets, measured: Iterable[int]
    ) -> list[tuple[int, int]]:
        """Return the buckets whose most frequent values are shown: from one to another, each.

        They are those of all windows that are shown, and of the present one. For `persons` they are
        the buckets that end these windows: only there a person counts once.
        """
        reach = 0 if metric.measure == "persons" else self.window - 1
        current = buckets.number(self.as_of)
        endings = self.endings(buckets, measured) or [current]
        return [(endings[0] - reach, endings[-1]), (current - reach, current)]

    def needs(self, buckets: Buckets) -> tuple[int, int]:
        """Return the first and the last bucket of all windows that may be shown, or are present."""
        first, _ = self.numbers(buckets)
        current = buckets.number(self.as_of)
        return min(first, current) - self.window + 1, current


def values_of(metric: Metric, aggregate: MetricAggregate) -> WindowValues:
    """Return what a metric shows of an aggregate."""
    sketch = aggregate.sketch
    values = WindowValues(
        aggregate.events,
        aggregate.unmeasured,
        aggregate.sum,
        aggregate.minimum if math.isfinite(aggregate.minimum) else None,
        aggregate.maximum if math.isfinite(aggregate.maximum) else None,
    )
    if isinstance(sketch, Percentiles):
        return values._replace(percentiles=sketch.at(asked_of(metric)))
    if isinstance(sketch, TopValues):
        top = sketch.top(metric.limit)
        return values._replace(top=top.values, other=top.other, off_by=top.off_by)
    return values


class ActivePersons(NamedTuple):
    """How many persons were active in the last `seconds`."""

    seconds: int
    persons: int


def active_in(seen: Mapping[int, int], as_of: int) -> list[ActivePersons]:
    """Return how many were active in the windows up to now, from the seconds of last activity."""
    now = as_of // 1_000
    return [
        ActivePersons(seconds, sum(count for at, count in seen.items() if at > now - seconds))
        for seconds in ACTIVE_S
    ]
