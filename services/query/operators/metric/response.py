"""What the API answers about metrics, from the aggregates of the stream or of ClickHouse."""

import datetime
import json
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from schemas.event_filter import EventFilter
from schemas.operators.metric import (
    WINDOWS,
    BucketLength,
    ByProperty,
    Measure,
    Metric,
    MetricDefinition,
    asked_of,
    buckets_of,
    length_of,
)
from schemas.sketches.percentiles import RANK_ERROR, K
from schemas.sketches.top_values import WORST
from schemas.time.buckets import CalendarInterval
from schemas.time.calendar import WeekStart
from services.query.http.params import Source, instant
from services.query.operators.metric.aggregates import (
    MetricAggregates,
    MetricQuery,
    ValueWindows,
    WindowValues,
    active_in,
)
from services.query.views.progress import LIVE_STATES, State

_KLL: Final = f"KLL of Apache DataSketches, k = {K}"
_FREQUENT: Final = "frequent items of Apache DataSketches, 512 places"


class TopValueResponse(msgspec.Struct, frozen=True):
    """A value of a property, or the name of an event, and how many events had it."""

    value: str | int | float | bool
    events: int


class WindowResponse(msgspec.Struct, frozen=True):
    """Persons who were active in a window that ends with a bucket, or with the present moment.

    The window lasts `seconds`. Weeks and months have no fixed length: there it is null, and
    `buckets` says how many of them the window has.
    """

    seconds: int | None
    persons: int
    buckets: int | UnsetType = UNSET


class MetricValueResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured of the events with one value of the property; null if it is not set.

    `other` marks all values together that are not shown by themselves. `figure` is what `value` is
    in a `BucketResponse`, and the other fields are as they are there.
    """

    value: bool | int | float | str | None
    other: bool
    events: int | None
    unmeasured: int | None
    figure: float | None
    persons: list[WindowResponse] | None


class BucketResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric has measured from `begin` to `end` (exclusive).

    `value` is the number of events, the number of persons in the bucket, the sum, the average, the
    minimum or the maximum, as the metric measures; null where there is nothing to measure.
    `percentiles` has a value for each percentile of the metric, and `top` the most frequent values;
    `other` counts the events with other values, and each count of `top` is at most `off_by` too
    low. `unmeasured` counts the events without such a property. `per_second` is the number of
    events for each second since `begin`. `persons` has the persons who were active in each of the
    windows that end with the bucket. `breakdown` has the same by value, the value that is most
    frequent in all that is shown first; null for metrics without one.
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
    breakdown: list[MetricValueResponse] | None = None


class SketchResponse(msgspec.Struct, frozen=True):
    """How results are approximated, and how large the error may be.

    `rank_error` is for percentiles: the share of all events by which the rank of a percentile may
    differ, with 99 % confidence. `count_error` is for the most frequent values: the share of the
    events in the window by which a count may be too low at worst; `off_by` is the actual bound.
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
    bucket_s: BucketLength | None
    interval: CalendarInterval | None
    timezone: str
    week_start: WeekStart
    breakdown: ByProperty | None
    since: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class MetricResultsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's results, and the events that they include, as of the moment `as_of`.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that is counted (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.

    `buckets` has each bucket in which something was measured, oldest first; with `window_s`, each
    has the window of that many seconds that ends with the bucket, merged from the buckets in it.
    The newest 1,440 buckets are kept, those that begin from `kept_since` on, and only windows of
    these are shown, whatever the source; it is null before the first event. `now` is the one that
    ends with the present bucket, which is not over. `active` has the persons who were active in the
    last 60, 300 and 1,800 seconds.

    `clock` is the project's time: that of its newest event and the time that has passed since,
    never ahead of the time of day; null before its first event. Buckets that end before
    `complete_until`, which is the allowed lateness earlier, are final, except for events that come
    later than that lateness; those whose bucket is no longer kept are not counted, but in
    `late_dropped`. It is null as long as the metric is backfilling, and if it has failed.
    `approximate` says how results are approximated; null if they are exact, as
    those of ClickHouse always are. `positions` has, for each partition of the event store, the
    offset before which all events are included, and no later ones: the parameter `as_of` takes
    them, and `clock` the moment `as_of` of an earlier answer. If the requested window does not
    fit the buckets of `previous`, its `window_s` is one bucket. It is null for weeks and months,
    whose windows are one bucket.

    Figures by value are too low by up to `error` events (of `persons`: persons of single buckets)
    if a partition has met more values than it tracks. The field is left out if they are exact.
    """

    metric: MetricResponse
    source: Source
    state: State
    backfilled: float
    as_of: datetime.datetime
    window_s: int | None
    now: BucketResponse
    active: list[WindowResponse] | None
    buckets: list[BucketResponse]
    approximate: SketchResponse | None
    late_dropped: int
    kept_since: datetime.datetime | None
    clock: datetime.datetime | None
    complete_until: datetime.datetime | None
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    previous: "MetricResultsResponse | None" = None
    error: int | UnsetType = UNSET


def show(definition: MetricDefinition) -> MetricResponse:
    """Return the response for a metric."""
    metric, length = definition.metric, length_of(definition.metric)
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
        bucket_s=None if isinstance(length, str) else length,
        interval=metric.interval,
        timezone=metric.timezone,
        week_start=metric.week_start,
        breakdown=metric.breakdown,
        since=metric.since,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: MetricDefinition,
    source: Source,
    aggregates: MetricAggregates,
    query: MetricQuery,
    previous: MetricResultsResponse | None = None,
) -> MetricResultsResponse:
    """Return the response for what a request asks."""
    metric = definition.metric
    buckets, length = buckets_of(metric), length_of(metric)
    current = buckets.number(query.as_of)

    def bucket(number: int) -> BucketResponse:
        begin = buckets.begin(number + 1 - query.window)
        end = buckets.begin(number + 1)
        values = aggregates.windows.get(number, WindowValues())
        response = _bucket(metric, values, begin, end, query.as_of)
        if metric.breakdown is None:
            return response
        by_value = _breakdown(metric, aggregates.values, number)
        return msgspec.structs.replace(response, breakdown=by_value)

    counting = aggregates.status.state in LIVE_STATES
    complete = query.complete_until if counting else None
    kept, updated = aggregates.kept_since, aggregates.updated_at
    return MetricResultsResponse(
        metric=show(definition),
        source=source,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        as_of=instant(query.as_of),
        window_s=None if isinstance(length, str) else query.window * length,
        now=bucket(current),
        active=_active(aggregates, query.as_of) if metric.measure == "persons" else None,
        buckets=[bucket(number) for number in query.endings(buckets, aggregates.windows)],
        approximate=_approximate(metric) if source == "stream" else None,
        late_dropped=aggregates.late_dropped,
        kept_since=None if kept is None else instant(kept),
        clock=None if query.clock is None else instant(query.clock),
        complete_until=None if complete is None else instant(complete),
        updated_at=None if updated is None else instant(updated),
        positions=dict(sorted(aggregates.positions.items())),
        previous=previous,
        error=UNSET if aggregates.values_error is None else aggregates.values_error,
    )


def _breakdown(metric: Metric, values: ValueWindows, number: int) -> list[MetricValueResponse]:
    of_persons = metric.measure == "persons"
    shown = []
    for value, windows in values.items():
        measured = windows.get(number)
        if measured is not None:
            shown.append(
                MetricValueResponse(
                    value=None if value is None else json.loads(value),
                    other=value is None,
                    events=None if of_persons else measured.events,
                    unmeasured=None if metric.property is None else measured.unmeasured,
                    figure=_value(metric, measured),
                    persons=_trailing_windows(metric, measured) if of_persons else None,
                )
            )
    return shown


def _bucket(
    metric: Metric, values: WindowValues, begin: int, end: int, as_of: int
) -> BucketResponse:
    of_persons = metric.measure == "persons"
    sketched = metric.measure == "top" or metric.by_event
    seconds = max(1, min(end, as_of) - begin) / 1_000
    return BucketResponse(
        begin=instant(begin),
        end=instant(end),
        events=None if of_persons else values.events,
        per_second=None if of_persons else values.events / seconds,
        unmeasured=None if metric.property is None else values.unmeasured,
        value=_value(metric, values),
        percentiles=_percentiles(metric, values),
        top=[TopValueResponse(*top) for top in values.top or ()] if sketched else None,
        other=values.other if sketched else None,
        off_by=values.off_by if sketched else None,
        persons=_trailing_windows(metric, values) if of_persons else None,
    )


def _active(aggregates: MetricAggregates, as_of: int) -> list[WindowResponse]:
    return [WindowResponse(*active) for active in active_in(aggregates.seen, as_of)]


def _value(metric: Metric, values: WindowValues) -> float | None:
    measured = values.events - values.unmeasured
    match metric.measure:
        case "events":
            return values.events
        case "persons":
            return values.persons[0] if values.persons else 0
        case "sum":
            return values.sum
        case "average":
            return values.sum / measured if measured else None
        case "minimum":
            return values.minimum
        case "maximum":
            return values.maximum
    return None


def _percentiles(metric: Metric, values: WindowValues) -> dict[str, float] | None:
    if metric.measure != "percentiles":
        return None
    names = [f"{percent:g}" for percent in asked_of(metric)]
    return dict(zip(names, values.percentiles or (), strict=False))


def _trailing_windows(metric: Metric, values: WindowValues) -> list[WindowResponse]:
    length = length_of(metric)
    windows = WINDOWS[length]
    counted = zip(windows, values.persons or [0] * len(windows), strict=True)
    if isinstance(length, str):
        return [WindowResponse(None, persons, window) for window, persons in counted]
    return [WindowResponse(length * window, persons) for window, persons in counted]


def _approximate(metric: Metric) -> SketchResponse | None:
    if metric.measure == "percentiles":
        return SketchResponse(_KLL, RANK_ERROR, None)
    if metric.measure == "top" or metric.by_event:
        return SketchResponse(_FREQUENT, None, WORST)
    return None
