"""Metrics: figures of events over time, bucket by bucket.

The metrics that a process exposes to Prometheus are in `telemetry` modules instead.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from schemas.conditions import PropertyName, check_conditions
from schemas.definition_codec import DefinitionCodec
from schemas.definitions import Definition, Text, counts_alike
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.renames import RenamedField
from schemas.time.buckets import DAY_S, Buckets, CalendarInterval
from schemas.time.calendar import WeekStart, find_zone
from schemas.time.since import Since, since_ms

MAX_METRICS_PER_PROJECT: Final = 100
# The latest buckets of a metric that are kept: 24 minutes of seconds, 4 hours of 10 s, a day of
# minutes, 10 days of 10 minutes, 60 days of hours, four years of days, all weeks and months.
KEPT: Final = 1_440
MAX_WINDOW: Final = 120  # buckets
# For how many buckets beyond the lateness and the longest window persons are kept.
MAX_LATE_BUCKETS: Final = 96
_MINUTE_S: Final = 60

Measure = Literal["events", "persons", "sum", "average", "minimum", "maximum", "percentiles", "top"]
BucketLength = Literal[1, 10, 60, 600, 3_600, 86_400]
Percentile = Annotated[float, Meta(gt=0, lt=100)]

# The trailing windows in which persons are counted, in buckets, by the length of a bucket.
WINDOWS: Final[dict[int | str, tuple[int, ...]]] = {
    60: (1, 5, 30),
    3_600: (1, 6, 24),
    DAY_S: (1, 7, 30),
    "week": (1, 4, 12),
    "month": (1, 3, 12),
}
ACTIVE_S: Final = (60, 300, 1_800)  # the windows up to now in which active persons are counted
_DEFAULT_PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0)
_PLAIN: Final = frozenset({"events", "persons"})
# Their sketches take some kB for each value of each bucket.
_SKETCHED: Final = frozenset({"percentiles", "top"})


class ByProperty(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The same figure for each value of a property of the event.

    An event counts for the value that it has. A person counts once in a window: for the value of
    their last event in it; of several at the same time the same one is always chosen. Not to be set
    (null) is a value like others. The 25 values with the most events (`persons`: with the most
    persons, summed over the buckets) in all that is shown are shown, all others together as
    `other`. On the stream each partition tracks 1,000 values (of 200 kB in all), and its figures
    equal ClickHouse's as long as no partition has more. Then the most frequent ones are tracked,
    and `error` says how many events or persons a value may lack at most.

    Values are compared and shown as in the breakdown of a cohort. The measures `percentiles` and
    `top`, and `by_event`, accept no breakdown: the query `trends` has percentiles by value.
    """

    property: PropertyName


class Metric(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A figure of the events that pass `filter`, in buckets of `bucket_s` seconds, 60 by default.

    - `events`: the number of events; with `by_event`, also the number for each of the `limit` most
      frequent names, and for all others together.
    - `persons`: the number of persons with an event in the trailing windows that end with each
      bucket: 1, 5 and 30 minutes, 1, 6 and 24 hours, 1, 7 and 30 days, 1, 4 and 12 weeks, or 1, 3
      and 12 months, for buckets of a minute, an hour, a day, a week or a month; and the number of
      persons who were active in the last 1, 5 and 30 minutes. Each is counted once in a window.
    - `sum`, `average`, `minimum`, `maximum`, `percentiles` (up to 20) of a numeric `property`. A
      number is a JSON number, read as a 64-bit float; events without one count as `unmeasured`.
    - `top`: the `limit` most frequent values of a `property`: a number, true, false, or text. Text
      is compared by its first 200 characters, whole numbers exactly as far as they fit into 64
      bits, other numbers as 64-bit floats (1 and 1.0 are one value). Events without one count as
      `unmeasured`. A `breakdown` of the measure `events` compares text to its end.

    With `interval` in place of `bucket_s`, buckets are calendar weeks, which begin on `week_start`,
    or months. An event counts in the bucket of its own time. Days, weeks and months are those of
    the time zone; a metric that names no time zone or `week_start` has its project's. Shorter
    buckets begin at whole multiples of their length since 1970 (UTC). The latest 1,440 buckets are
    kept.

    All figures are exact but `percentiles`, `top` and `by_event`, which are sketches of Apache
    DataSketches. The rank of a percentile (KLL, k = 400) is within 0.68 % of the one asked for with
    99 % confidence. Counts of values (frequent items, 512 places) are exact up to 384 different
    values, and beyond that too low by at most 0.69 % of the events in the bucket or window. Sums
    are of 64-bit floats: n numbers, added in any order, give an error of at most n · 2⁻⁵³ times the
    sum of their absolute values, and none for whole numbers below 2⁵³.

    With `since`, events before that time do not count, and a new definition reads the event store
    from that time on instead of from its beginning.
    """

    measure: Measure
    filter: EventFilter = EventFilter()
    property: PropertyName | None = None
    by_event: bool = False
    percentiles: Annotated[tuple[Percentile, ...], Meta(max_length=20)] = ()
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    bucket_s: BucketLength | None = None
    interval: CalendarInterval | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    week_start: WeekStart = "monday"
    breakdown: ByProperty | None = None
    since: Since | None = None
    name: Text = ""
    description: Text = ""


def length_of(metric: Metric) -> BucketLength | CalendarInterval:
    """Return the length of a metric's buckets: a number of seconds, or a calendar interval."""
    if metric.interval is not None:
        return metric.interval
    return _MINUTE_S if metric.bucket_s is None else metric.bucket_s


def buckets_of(metric: Metric) -> Buckets:
    """Return the numbered buckets in which a metric measures."""
    return Buckets(length_of(metric), metric.timezone, metric.week_start)


def asked_of(metric: Metric) -> tuple[float, ...]:
    """Return the percentiles of a metric: those it names, or the default ones."""
    return metric.percentiles or _DEFAULT_PERCENTILES


class MetricDefinition(Definition, frozen=True, kw_only=True):
    """A metric on the definitions topic."""

    KIND = "metric"

    metric: Metric

    @property
    def since_ms(self) -> int:
        """The first moment whose events count (ms since 1970)."""
        return since_ms(self.metric.since)


def decode_metric(body: bytes) -> Metric:
    """Decode a metric from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: MetricDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> MetricDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a metric.
    """
    return _CODEC.decode(value)


def _check(metric: Metric) -> None:
    check_conditions(metric.filter.where, "filter.where")
    find_zone(metric.timezone)
    since_ms(metric.since)
    measure = metric.measure
    if measure in _PLAIN and metric.property is not None:
        raise InvalidRequest(f"must not be set: `{measure}` reads no property", "property")
    if measure not in _PLAIN and metric.property is None:
        raise InvalidRequest(f"must be the name of a property for `{measure}`", "property")
    if metric.by_event and measure != "events":
        raise InvalidRequest("must be set with the measure `events` only", "by_event")
    if metric.percentiles and measure != "percentiles":
        raise InvalidRequest("must be set with the measure `percentiles` only", "percentiles")
    if any(abs(round(10 * percent) - 10 * percent) > 1e-9 for percent in metric.percentiles):
        raise InvalidRequest("must be multiples of 0.1", "percentiles")
    if metric.interval is not None and metric.bucket_s is not None:
        raise InvalidRequest("must not be set with `interval`", "bucket_s")
    if measure == "persons" and length_of(metric) not in WINDOWS:
        raise InvalidRequest("must be 60, 3600 or 86400 for `persons`", "bucket_s")
    if metric.breakdown is not None and (measure in _SKETCHED or metric.by_event):
        raise InvalidRequest(
            "must not be set with `percentiles`, `top` or `by_event`, of which a sketch is kept: "
            "ask the query `trends` for percentiles by value, or break `events` down",
            "breakdown",
        )


def _counts_alike(before: MetricDefinition, after: MetricDefinition) -> bool:
    return counts_alike(_as_counted(before.metric), _as_counted(after.metric))


def _as_counted(metric: Metric) -> Metric:
    """Return the metric without what changes nothing that it counts.

    Its percentiles and its limit are asked of its sketches only when they are shown.
    """
    return msgspec.structs.replace(
        metric,
        percentiles=(),
        limit=10,
        bucket_s=None if length_of(metric) == _MINUTE_S else metric.bucket_s,
        week_start=metric.week_start if metric.interval == "week" else "monday",
    )


def _find_renamed(metric: Any) -> Iterator[RenamedField]:
    if isinstance(metric, dict) and "of" in metric:
        yield RenamedField(metric, "", "of", "filter")


_CODEC: Final = DefinitionCodec(
    Metric,
    MetricDefinition,
    check=_check,
    check_stored=lambda definition: _check(definition.metric),
    find_renamed=_find_renamed,
)


METRIC: Final = OperatorSpec(
    name=MetricDefinition.KIND,
    plural="metrics",
    decode=decode,
    encode=encode,
    counts_alike=_counts_alike,
    max_per_project=MAX_METRICS_PER_PROJECT,
    aggregates=ResultTopic("metrics", "metric-result"),
)
