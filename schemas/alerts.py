"""Alerts: conditions on live results and on queries, evaluated at fixed steps.

An alert is a definition, `project/alert/<id>` on the definitions topic. A step is a span of
`every_s` seconds, numbered from 1970 on; an incident has the id `alert/step` of the step at which
it opened.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.definitions import Definition, Id, Text, decode_with, read_request
from schemas.errors import InvalidRequest
from schemas.queries.trends import TRENDS

MAX_ALERTS_PER_PROJECT: Final = 100
MAX_SPAN_S: Final = 366 * 86_400

Seconds = Annotated[int, Meta(ge=0, le=31 * 86_400)]
Span = Annotated[int, Meta(ge=1, le=MAX_SPAN_S)]
Comparison = Literal["none", "previous", "week"]
NoData = Literal["keep", "ok", "alert"]
Severity = Literal["info", "warning", "critical"]


class QueryMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="query"):
    """The first figure of a `trends` query over the last `window_s` seconds.

    The query has no `from`, `to`, `last`, `compare`, `breakdown` and `as_of`. With formulas, the
    figure is that of the first formula. "No events for ten minutes" is a query of events over 600
    seconds, with the condition `lt` 1.
    """

    query: dict[str, msgspec.Raw]
    window_s: Span


class MetricMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="metric"):
    """The value of a live metric in its last whole bucket."""

    metric: Id


class FunnelMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="funnel"):
    """The conversion (0 to 1) of a funnel to a step, of those who entered in a span of time.

    They entered in the last span of `window_s` seconds of which everybody has had `age_s` seconds
    to convert; only steps within that age count. Compared with the `previous` span, both groups
    have had the same time. `step` is the last one by default.
    """

    funnel: Id
    window_s: Span
    age_s: Span
    step: Annotated[int, Meta(ge=2, le=32)] | None = None


class SegmentMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="segment"):
    """Of a live segment: how many persons are in it (`size`), or have entered since the last step.

    Persons who entered before the first step are not counted as `entered`.
    """

    segment: Id
    figure: Literal["size", "entered"] = "size"


class PredictionMeasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="prediction"):
    """How often the losses of a prediction's champion have drifted since the last step."""

    prediction: Id
    figure: Literal["drifts"] = "drifts"


Measure = QueryMeasure | MetricMeasure | FunnelMeasure | SegmentMeasure | PredictionMeasure


class AlertCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must hold of the value for the alert to fire."""

    op: Literal["gt", "gte", "lt", "lte"]
    value: float

    def holds(self, value: float) -> bool:
        """Whether it holds."""
        match self.op:
            case "gt":
                return value > self.value
            case "gte":
                return value >= self.value
            case "lt":
                return value < self.value
        return value <= self.value


class Alert(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """An alert: it fires when `condition` holds of what is measured, every `every_s` seconds.

    With `compare`, the condition is on the change against the span or bucket before (`previous`) or
    the same time a week earlier (`week`): their difference, or with `relative` its share of the
    earlier figure, so that -0.2 is a drop of 20 percent.

    It fires after the condition has held for `pending_s`, and stops once it has not held for
    `keep_firing_s`. `min_sample` is how many events, or persons who entered a funnel, a figure must
    be of; with fewer, and without a figure, there is no data: the alert stays as it is (`keep`), is
    in order (`ok`) or fires (`alert`).

    With `wait_complete`, a step is evaluated once all events of it are there, but for those that
    come later than the allowed lateness. Without, it is evaluated at once, and again when they are
    there: if the condition then does not hold of the step that opened an incident, the incident is
    retracted.

    `notify` names the subscriptions that are told of its incidents, beside those that ask for them.
    """

    measure: Measure
    condition: AlertCondition
    every_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    compare: Comparison = "none"
    relative: bool = False
    pending_s: Seconds = 0
    keep_firing_s: Seconds = 0
    no_data: NoData = "keep"
    min_sample: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    wait_complete: bool = False
    severity: Severity = "warning"
    notify: Annotated[tuple[Id, ...], Meta(max_length=20)] = ()
    active: bool = True
    name: Text = ""
    description: Text = ""


class AlertDefinition(Definition, frozen=True, kw_only=True):
    """An alert on the definitions topic."""

    KIND = "alert"

    alert: Alert


def decode_alert(body: bytes) -> Alert:
    """Decode an alert from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    alert = read_request(_alert, body)
    if alert.relative and alert.compare == "none":
        raise InvalidRequest("is accepted with `compare` only", "relative")
    measure = alert.measure
    if isinstance(measure, QueryMeasure):
        _check_query(measure)
        if alert.every_s < 10:
            raise InvalidRequest("accepted are 10 or more for a query", "every_s")
    if isinstance(measure, FunnelMeasure) and alert.every_s < 10:
        raise InvalidRequest("accepted are 10 or more for a funnel", "every_s")
    if isinstance(measure, SegmentMeasure | PredictionMeasure) and alert.compare != "none":
        raise InvalidRequest("accepted is `none` for a segment and a prediction", "compare")
    if isinstance(measure, SegmentMeasure | PredictionMeasure) and alert.wait_complete:
        raise InvalidRequest("is accepted for queries, metrics and funnels", "wait_complete")
    return alert


def _check_query(measure: QueryMeasure) -> None:
    for name in ("from", "to", "last", "compare", "breakdown", "as_of"):
        if name in measure.query:
            raise InvalidRequest("must not be set: the alert sets it", f"measure.query.{name}")
    try:
        TRENDS.decode(msgspec.json.encode(measure.query))
    except InvalidRequest as error:
        field = f"measure.query.{error.field}".rstrip(".")
        raise InvalidRequest(error.reason, field) from None


def encode(definition: AlertDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> AlertDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not an alert.
    """
    return decode_with(_definition, value)


class AlertState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of an alert after a step: the record of `avila.state.alerts`.

    `created_at` and `version` are those of the definition that was evaluated. `pending_since` is
    the step since which the condition has held, `held_at` the last one at which it did, `opened`
    the step of the incident that is open, and `cause` why it opened. `checked` says that the step
    that opened it has been evaluated with all events. `total` is what `entered` and `drifts` have
    been counted up to. `error` says why the last step could not be evaluated.
    """

    created_at: int
    version: int
    every_s: int
    step: int
    phase: Literal["ok", "pending", "firing"] = "ok"
    data: Literal["value", "no_data", "error"] = "value"
    pending_since: int | None = None
    held_at: int | None = None
    opened: int | None = None
    cause: Literal["condition", "no_data"] = "condition"
    checked: bool = False
    value: float | None = None
    figure: float | None = None
    baseline: float | None = None
    sample: float | None = None
    total: float | None = None
    error: str = ""


def decode_state(value: bytes) -> AlertState:
    """Decode a state; raises `msgspec.DecodeError`."""
    return decode_with(_state, value)


def encode_state(state: AlertState) -> bytes:
    """Encode a state."""
    return msgspec.json.encode(state)


_alert: Final = msgspec.json.Decoder(Alert)
_definition: Final = msgspec.json.Decoder(AlertDefinition)
_state: Final = msgspec.json.Decoder(AlertState)
