"""Metrics: what is measured of events over time, bucket by bucket, while they come.

Not those that a process has for Prometheus (`pipelines.worker.telemetry`,
`services.query.http.telemetry`).
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
from schemas.time.calendar import find_zone
from schemas.time.since import Since, since_ms

MAX_METRICS_PER_PROJECT: Final = 100
# The newest buckets that are kept of a metric: 24 minutes of seconds, 4 hours of 10 s, a day of
# minutes, 10 days of 10 minutes, 60 days of hours, four years of days.
KEPT: Final = 1_440
MAX_WINDOW: Final = 120  # buckets
# Persons are remembered for so many buckets beyond the lateness and the longest window.
MAX_LATE_BUCKETS: Final = 96
DAY_S: Final = 86_400

Measure = Literal["events", "persons", "sum", "average", "minimum", "maximum", "percentiles", "top"]
BucketLength = Literal[1, 10, 60, 600, 3_600, 86_400]
Percentile = Annotated[float, Meta(gt=0, lt=100)]

# The trailing windows of which persons are counted, in buckets, by the length of a bucket.
WINDOWS: Final[dict[int, tuple[int, ...]]] = {
    60: (1, 5, 30),
    3_600: (1, 6, 24),
    DAY_S: (1, 7, 30),
}
ACTIVE_S: Final = (60, 300, 1_800)  # the windows up to now of which active persons are counted
_DEFAULT_PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0)
_PLAIN: Final = frozenset({"events", "persons"})


class Metric(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A figure of the events that pass `filter`, in buckets of `bucket_s` seconds.

    - `events`: how many there are; `by_event`: and how many of each name, the `limit` most frequent
      ones, the others together.
    - `persons`: how many persons did one, in trailing windows that end with each bucket: 1, 5 and
      30 minutes, 1, 6 and 24 hours, or 1, 7 and 30 days, as the bucket is a minute, an hour or a
      day; and how many were active in the last 1, 5 and 30 minutes, now.
    - `sum`, `average`, `minimum`, `maximum`, `percentiles` (up to 20) of a numeric `property`. A
      number is a JSON number, taken as a 64-bit float; events whose property is none are counted as
      `unmeasured`.
    - `top`: the `limit` most frequent values of a `property`. A value is text, of which the first
      200 characters count, a number, true or false; other events are `unmeasured`.

    A bucket belongs to the time of its events. Days are those of the time zone, the
    project's if none is named; shorter buckets begin at whole multiples of their length since 1970,
    UTC. The newest 1,440 buckets are kept.

    All is exact but `percentiles`, `top` and `by_event`, which are kept in sketches of Apache
    DataSketches. A percentile is a value of a KLL sketch (k = 400): its rank is within 0.68 % of
    what was asked for, with 99 % confidence. Values are counted in a frequent items sketch (512
    places): exactly up to 384 different ones, and beyond that to 0.69 % of all events in the bucket
    or window at worst. A sum is of 64-bit floats: n of them, added in whatever order, are off by at
    most n · 2⁻⁵³ times the sum of their absolute values, and whole numbers are exact below 2⁵³.

    With `since`, events before that time do not count, and a definition that is new reads the event
    store from there on instead of from its beginning.
    """

    measure: Measure
    filter: EventFilter = EventFilter()
    property: PropertyName | None = None
    by_event: bool = False
    percentiles: Annotated[tuple[Percentile, ...], Meta(max_length=20)] = ()
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    bucket_s: BucketLength = 60
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    since: Since | None = None
    name: Text = ""
    description: Text = ""


def asked_of(metric: Metric) -> tuple[float, ...]:
    """The percentiles that are asked of a metric."""
    return metric.percentiles or _DEFAULT_PERCENTILES


class MetricDefinition(Definition, frozen=True, kw_only=True):
    """A metric as it stands on the definitions topic."""

    KIND = "metric"

    metric: Metric

    @property
    def since_ms(self) -> int:
        """From when on events count (ms since 1970)."""
        return since_ms(self.metric.since)


def decode_metric(body: bytes) -> Metric:
    """Read a metric from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: MetricDefinition) -> bytes:
    """Encode a definition as a record of its topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> MetricDefinition:
    """Read a definition from its topic; raises `msgspec.DecodeError` if it is not one."""
    return _CODEC.decode(value)


def _check(metric: Metric) -> None:
    check_conditions(metric.filter.where, "filter.where")
    find_zone(metric.timezone)
    since_ms(metric.since)
    measure = metric.measure
    if measure in _PLAIN and metric.property is not None:
        raise InvalidRequest(f"`{measure}` reads no property", "property")
    if measure not in _PLAIN and metric.property is None:
        raise InvalidRequest(f"`{measure}` needs the name of a property", "property")
    if metric.by_event and measure != "events":
        raise InvalidRequest("goes with the measure `events` only", "by_event")
    if metric.percentiles and measure != "percentiles":
        raise InvalidRequest("goes with the measure `percentiles` only", "percentiles")
    if any(abs(round(10 * percent) - 10 * percent) > 1e-9 for percent in metric.percentiles):
        raise InvalidRequest("accepted are multiples of 0.1", "percentiles")
    if measure == "persons" and metric.bucket_s not in WINDOWS:
        raise InvalidRequest("of `persons`, accepted are 60, 3600 and 86400", "bucket_s")


def _counts_alike(before: MetricDefinition, after: MetricDefinition) -> bool:
    return counts_alike(_as_counted(before.metric), _as_counted(after.metric))


def _as_counted(metric: Metric) -> Metric:
    """The metric without what is only asked of its sketches, when they are shown."""
    return msgspec.structs.replace(metric, percentiles=(), limit=10)


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
