"""Decide what answers a tile: the results of a definition, or a query. Pure."""

import datetime
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from schemas.dashboards import (
    ActiveTile,
    CohortTile,
    FeedTile,
    FunnelTile,
    MetricTile,
    PredictionTile,
    QueryTile,
    SegmentTile,
    TextTile,
    Tile,
    query_of,
)
from schemas.definitions import Definition
from schemas.errors import InvalidRequest
from schemas.operators.cohort import CohortDefinition
from schemas.operators.funnel import FunnelDefinition
from schemas.operators.metric import KEPT, Metric, MetricDefinition, asked_of, length_of
from schemas.operators.segment import SegmentDefinition
from schemas.queries.filters import QueryFilters
from schemas.time.calendar import Period, find_zone, midnight
from schemas.time.rfc3339 import write_time

D = TypeVar("D", bound=Definition)

AnsweredBy = Literal["stream", "store", "nothing"]
Part = Literal["range", "where"]
Days = tuple[datetime.date, datetime.date]
# Returns the definition of a kind with an id; raises `NotFound` if there is none.
Find = Callable[[str, str], Definition]

FEED_EVENTS: Final = 20
_NOT_IN_QUERIES: Final = ("timezone", "week_start", "since", "name", "description", "breakdown")
_INTERVALS: Final[dict[int | str, str]] = {
    60: "minute",
    3_600: "hour",
    "week": "week",
    "month": "month",
}
_MEASURES: Final = ("events", "persons", "sum", "average", "minimum", "maximum")


class Scope(NamedTuple):
    """What a dashboard says of all its tiles; `timezone` and `week_start` are the project's."""

    days: Days | None
    where: QueryFilters
    timezone: str
    week_start: str


class Ask(NamedTuple):
    """What to ask for a tile: the results of the definition `id`, or the query `body`.

    `kind` is that of the definition or of the query; with `as_rows`, its answer is wanted as the
    rows of a table. `period` is that of a cohort. `ignores` are the parts of the dashboard's scope
    that do not apply to the tile, although they are set.
    """

    answered_by: AnsweredBy
    kind: str
    id: str = ""
    parameters: Mapping[str, str] = MappingProxyType({})
    body: dict[str, Any] | None = None
    ignores: tuple[Part, ...] = ()
    as_rows: bool = False
    period: Period | None = None


def ask_of(tile: Tile, scope: Scope, find: Find) -> Ask:
    """Return what to ask.

    Live results count what their definition says. So a tile whose definition counts persons over
    all time, or that is filtered, is answered by a query of the same body instead.

    Raises:
        NotFound: the definition that the tile names does not exist.
        InvalidRequest: the filters cannot be applied to it.
    """
    match tile:
        case TextTile():
            return Ask("nothing", "text")
        case FeedTile():
            return _feed(tile, scope)
        case ActiveTile(metric=name):
            return Ask("stream", "metric", name, {"limit": "1"}, ignores=_set(scope))
        case PredictionTile(prediction=name):
            ignores = _set(scope, "where")
            return Ask("stream", "prediction", name, _day_parameters(scope), ignores=ignores)
        case FunnelTile(funnel=name):
            return _funnel(_found(find, name, FunnelDefinition), scope)
        case CohortTile(cohort=name):
            return _cohort(_found(find, name, CohortDefinition), scope)
        case SegmentTile(segment=name):
            return _segment(_found(find, name, SegmentDefinition), scope)
        case MetricTile(metric=name):
            return _metric(_found(find, name, MetricDefinition), scope)
    kind, body = query_of(tile) or ("", {})
    return Ask("store", kind, body=_scoped(body, scope), as_rows=isinstance(tile, QueryTile))


def definition_of(tile: Tile) -> tuple[str, str] | None:
    """Return the kind and the id of the definition that a tile shows; None if it has none."""
    match tile:
        case FunnelTile(funnel=name):
            return "funnel", name
        case CohortTile(cohort=name):
            return "cohort", name
        case SegmentTile(segment=name):
            return "segment", name
        case MetricTile(metric=name) | ActiveTile(metric=name):
            return "metric", name
        case PredictionTile(prediction=name):
            return "prediction", name
    return None


def _feed(tile: FeedTile, scope: Scope) -> Ask:
    asked: dict[str, Any] = {"limit": FEED_EVENTS}
    if tile.event is not None:
        asked["event"] = tile.event
    # Events come with the filters, but the newest ones always are those that come now.
    body = _scoped(asked, scope._replace(days=None))
    return Ask("store", "events", body=body, ignores=_set(scope, "range"))


def _funnel(definition: FunnelDefinition, scope: Scope) -> Ask:
    if scope.days is None and not scope.where:
        return Ask("stream", "funnel", definition.id)
    body = {"funnel": _body(definition.funnel), "timezone": definition.funnel.timezone}
    return Ask("store", "funnel", body=_scoped(body, scope))


def _cohort(definition: CohortDefinition, scope: Scope) -> Ask:
    if not scope.where:
        return Ask("stream", "cohort", definition.id, _day_parameters(scope))
    cohort = definition.cohort
    body = {
        "cohort": _body(cohort),
        "timezone": cohort.timezone,
        "week_start": cohort.week_start,
    }
    return Ask("store", "cohort", body=_scoped(body, scope), period=cohort.period)


def _segment(definition: SegmentDefinition, scope: Scope) -> Ask:
    if not scope.where:
        return Ask("stream", "segment", definition.id, _day_parameters(scope))
    body = {"rule": msgspec.to_builtins(definition.segment.rule), "limit": 1}
    asked = _scoped(body, scope._replace(days=None))
    return Ask("store", "segment", body=asked, ignores=_set(scope, "range"))


def _metric(definition: MetricDefinition, scope: Scope) -> Ask:
    metric = definition.metric
    if scope.where:
        return Ask("store", "trends", body=_scoped(_trends(metric), scope))
    parameters = {"limit": str(KEPT)} if scope.days else {"limit": "240"}
    if scope.days is not None:
        zone = find_zone(scope.timezone)
        first, last = scope.days
        after = midnight(last + datetime.timedelta(days=1), zone)
        parameters |= {"from": write_time(midnight(first, zone)), "to": write_time(after - 1)}
    return Ask("stream", "metric", definition.id, parameters)


def _trends(metric: Metric) -> dict[str, Any]:
    """Return the query that measures what a metric does.

    Raises:
        InvalidRequest: no query does.
    """
    series: dict[str, Any] = msgspec.to_builtins(metric.filter)
    if metric.measure in _MEASURES:
        series["measure"] = metric.measure
    elif metric.measure == "percentiles":
        series |= {"measure": "percentile", "percentile": asked_of(metric)[0]}
    else:
        raise InvalidRequest(f"do not apply to metrics that measure `{metric.measure}`", "where")
    if metric.property is not None:
        series["property"] = metric.property
    return {
        "series": [series],
        "interval": _INTERVALS.get(length_of(metric), "day"),
        "timezone": metric.timezone,
        "week_start": metric.week_start,
    }


def _found(find: Find, name: str, kind: type[D]) -> D:
    found = find(kind.KIND, name)
    assert isinstance(found, kind)
    return found


def _body(of: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(of)
    return {name: value for name, value in fields.items() if name not in _NOT_IN_QUERIES}


def _scoped(body: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """Return a query with the dashboard's days in place of its own, and all filters."""
    asked = dict(body)
    if scope.days is not None:
        first, last = scope.days
        asked.pop("last", None)
        asked |= {"from": first.isoformat(), "to": last.isoformat()}
    if scope.where:
        asked["where"] = [*asked.get("where", ()), *msgspec.to_builtins(scope.where)]
    return asked


def _day_parameters(scope: Scope) -> dict[str, str]:
    if scope.days is None:
        return {}
    first, last = scope.days
    return {"from": first.isoformat(), "to": last.isoformat()}


def _set(scope: Scope, *parts: Part) -> tuple[Part, ...]:
    """Return those of the parts (of all, if none is named) that the scope has set."""
    is_set: dict[Part, bool] = {"range": scope.days is not None, "where": bool(scope.where)}
    return tuple(part for part, given in is_set.items() if given and (not parts or part in parts))
