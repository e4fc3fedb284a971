"""A metric's figures: from what is measured, wherever it was, to what the API answers."""

import datetime
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from schemas.event_filter import EventFilter
from schemas.operators.metric import (
    ACTIVE_S,
    WINDOWS,
    BucketLength,
    Measure,
    Metric,
    MetricDefinition,
    asked_of,
)
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.sketches.percentiles import RANK_ERROR, K, Percentiles
from schemas.sketches.top_values import WORST, TopValues, Value
from schemas.time.buckets import Buckets
from services.query.http.params import Source, instant
from services.query.views.progress import LIVE, State, StatusResponse

_KLL: Final = f"KLL of Apache DataSketches, k = {K}"
_FREQUENT: Final = "frequent items of Apache DataSketches, 512 places"


class WindowValues(NamedTuple):
    """What is measured in the buckets of a window."""

    events: int = 0
    unmeasured: int = 0
    sum: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    percentiles: list[float] | None = None  # those that are asked for
    top: list[tuple[Value, int]] | None = None
    other: int = 0
    off_by: int = 0
    persons: list[int] | None = None  # in each of the trailing windows


class MetricValues(NamedTuple):
    """All that is measured of a metric: figures by the number of the bucket that ends their window.

    `seen`: of metrics of persons, how many were last active in each second since 1970.
    `status` says how far that is.
    """

    figures: Mapping[int, WindowValues]
    seen: Mapping[int, int]
    late_dropped: int
    complete_until: int | None
    updated_at: int | None
    positions: Mapping[int, int]
    status: StatusResponse = LIVE


class MetricQuery(NamedTuple):
    """What is asked of a metric: windows of so many buckets, that end with the last `limit` ones.

    Those are of the buckets that begin from `first` to `last` (ms), and have begun by `as_of`.
    """

    as_of: int
    window: int = 1
    first: int = 0
    last: int = 2**62
    limit: int = 100

    def numbers(self, buckets: Buckets) -> tuple[int, int]:
        """The first and the last bucket that may be shown."""
        last = min(self.last, self.as_of)
        first = buckets.number(self.first)
        if buckets.begin(first) < self.first:
            first += 1
        return first, buckets.number(last)

    def needs(self, buckets: Buckets) -> tuple[int, int]:
        """The first and the last bucket of the windows that may be shown, and of that of now."""
        first, _ = self.numbers(buckets)
        current = buckets.number(self.as_of)
        return min(first, current) - self.window + 1, current


class TopValueResponse(msgspec.Struct, frozen=True):
    """A value of a property, or the name of an event, and how many events had it."""

    value: str | int | float | bool
    events: int


class WindowResponse(msgspec.Struct, frozen=True):
    """Persons who were active in the `seconds` that ended then, or so many days."""

    seconds: int
    persons: int


class BucketResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric has measured from `begin` to `end`, which is not a part of it.

    `value` is the measure itself, null where there is nothing to measure: the number of events, of
    persons (in the bucket), the sum, the average, the minimum or the maximum. `percentiles` has it
    for each percentile that is asked for, `top` for each value that is most frequent; `other` are
    the events with any other value, and each count of `top` is at most `off_by` too low.
    `unmeasured` are the events that have no such property. `per_second` are the events, by the
    seconds that have passed since `begin`. `persons` has those who were active in each of the
    windows that ended with the bucket.
    """

    begin: datetime.datetime
    end: datetime.datetime
    events: int | None
    per_second: float | None
    unmeasured: int | None
    value: float | None
    percentiles: dict[str, float] | None
    top: list[TopValueResponse] | None
    other: int | None
    off_by: int | None
    persons: list[WindowResponse] | None


class SketchResponse(msgspec.Struct, frozen=True):
    """How the figures are approximated, and by how much they may be off.

    `rank_error` is of percentiles: the share of all events by which the rank of a percentile may
    differ, with 99 % confidence. `count_error` is of most frequent values: the share of the events
    in the window by which a count may be too low at worst; `off_by` says by how much it may be.
    """

    sketch: str
    rank_error: float | None
    count_error: float | None


class MetricResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A metric; `revision` rises with every change, `version` when what is counted changes."""

    id: str
    revision: int
    version: int
    name: str
    description: str
    measure: Measure
    filter: EventFilter
    property: str | None
    by_event: bool
    percentiles: tuple[float, ...]
    limit: int
    bucket_s: BucketLength
    timezone: str
    since: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class MetricResultsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's results, and the events that they include, as of the moment `as_of`.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that is counted (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.

    `buckets` has each bucket in which something was measured, oldest first; with `window_s`, each
    stands for the window of so many seconds that ends with the bucket, merged from the buckets in
    it. `now` is the one that ends with the present bucket, which is not over. `active` has the
    persons who were active in the last 60, 300 and 1,800 seconds.

    Buckets that end before `complete_until` are final, except for events that come later than the
    allowed lateness, which are not counted but for `late_dropped`. It is the earliest time of all
    partitions that have had an event; null if none had, or with `source=store`. `approximate` says
    how results are approximated; null if they are exact, as those of ClickHouse always are.
    `positions` has, for each partition of the event store, the offset before which all events are
    included. In `previous`, `window_s` is one bucket if its buckets do not fit the one asked for.
    """

    metric: MetricResponse
    source: Source
    state: State
    backfilled: float
    as_of: datetime.datetime
    window_s: int
    now: BucketResponse
    active: list[WindowResponse] | None
    buckets: list[BucketResponse]
    approximate: SketchResponse | None
    late_dropped: int
    complete_until: datetime.datetime | None
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    previous: "MetricResultsResponse | None" = None


def show(definition: MetricDefinition) -> MetricResponse:
    """Return what the API shows of a metric."""
    metric = definition.metric
    return MetricResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        name=metric.name,
        description=metric.description,
        measure=metric.measure,
        filter=metric.filter,
        property=metric.property,
        by_event=metric.by_event,
        percentiles=metric.percentiles,
        limit=metric.limit,
        bucket_s=metric.bucket_s,
        timezone=metric.timezone,
        since=metric.since,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def values_of(metric: Metric, tally: MetricAggregate) -> WindowValues:
    """What a metric shows of a tally."""
    sketch = tally.sketch
    figure = WindowValues(
        tally.events,
        tally.unmeasured,
        tally.sum,
        tally.minimum if math.isfinite(tally.minimum) else None,
        tally.maximum if math.isfinite(tally.maximum) else None,
    )
    if isinstance(sketch, Percentiles):
        return figure._replace(percentiles=sketch.at(asked_of(metric)))
    if isinstance(sketch, TopValues):
        top = sketch.top(metric.limit)
        return figure._replace(top=top.values, other=top.other, off_by=top.off_by)
    return figure


def assemble(
    definition: MetricDefinition,
    source: Source,
    counted: MetricValues,
    asked: MetricQuery,
    previous: MetricResultsResponse | None = None,
) -> MetricResultsResponse:
    """Return what the API answers."""
    metric = definition.metric
    buckets = Buckets(metric.bucket_s, metric.timezone)
    first, last = asked.numbers(buckets)
    shown = sorted(number for number in counted.figures if first <= number <= last)
    current = buckets.number(asked.as_of)

    def figure(number: int) -> BucketResponse:
        begin = buckets.begin(number + 1 - asked.window)
        end = buckets.begin(number + 1)
        return _shown(metric, counted.figures.get(number, WindowValues()), begin, end, asked.as_of)

    complete, updated = counted.complete_until, counted.updated_at
    return MetricResultsResponse(
        metric=show(definition),
        source=source,
        state=counted.status.state,
        backfilled=counted.status.backfilled,
        as_of=instant(asked.as_of),
        window_s=asked.window * metric.bucket_s,
        now=figure(current),
        active=active_in(counted.seen, asked.as_of) if metric.measure == "persons" else None,
        buckets=[figure(number) for number in shown[-asked.limit :]],
        approximate=_approximate(metric) if source == "stream" else None,
        late_dropped=counted.late_dropped,
        complete_until=None if complete is None else instant(complete),
        updated_at=None if updated is None else instant(updated),
        positions=dict(sorted(counted.positions.items())),
        previous=previous,
    )


def _shown(
    metric: Metric, figure: WindowValues, begin: int, end: int, as_of: int
) -> BucketResponse:
    of_persons = metric.measure == "persons"
    sketched = metric.measure == "top" or metric.by_event
    seconds = max(1, min(end, as_of) - begin) / 1_000
    return BucketResponse(
        begin=instant(begin),
        end=instant(end),
        events=None if of_persons else figure.events,
        per_second=None if of_persons else figure.events / seconds,
        unmeasured=None if metric.property is None else figure.unmeasured,
        value=_value(metric, figure),
        percentiles=_percentiles(metric, figure),
        top=[TopValueResponse(*top) for top in figure.top or ()] if sketched else None,
        other=figure.other if sketched else None,
        off_by=figure.off_by if sketched else None,
        persons=_windowed(metric, figure) if of_persons else None,
    )


def _value(metric: Metric, figure: WindowValues) -> float | None:
    measured = figure.events - figure.unmeasured
    match metric.measure:
        case "events":
            return figure.events
        case "persons":
            return figure.persons[0] if figure.persons else 0
        case "sum":
            return figure.sum
        case "average":
            return figure.sum / measured if measured else None
        case "minimum":
            return figure.minimum
        case "maximum":
            return figure.maximum
    return None


def _percentiles(metric: Metric, figure: WindowValues) -> dict[str, float] | None:
    if metric.measure != "percentiles":
        return None
    names = [f"{percent:g}" for percent in asked_of(metric)]
    return dict(zip(names, figure.percentiles or (), strict=False))


def _windowed(metric: Metric, figure: WindowValues) -> list[WindowResponse]:
    windows = WINDOWS[metric.bucket_s]
    persons = figure.persons or [0] * len(windows)
    seconds = (metric.bucket_s * window for window in windows)
    return [WindowResponse(*pair) for pair in zip(seconds, persons, strict=True)]


def active_in(seen: Mapping[int, int], as_of: int) -> list[WindowResponse]:
    """How many were active in the windows up to now, by the seconds in which they last were."""
    now = as_of // 1_000
    return [
        WindowResponse(
            window, sum(count for second, count in seen.items() if second > now - window)
        )
        for window in ACTIVE_S
    ]


def _approximate(metric: Metric) -> SketchResponse | None:
    if metric.measure == "percentiles":
        return SketchResponse(_KLL, RANK_ERROR, None)
    if metric.measure == "top" or metric.by_event:
        return SketchResponse(_FREQUENT, None, WORST)
    return None
