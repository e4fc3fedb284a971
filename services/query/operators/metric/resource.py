"""The endpoints of a project's metrics: definitions and results.

Not those of this process for Prometheus, which are in `services.query.http.telemetry`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.event_filter import EventSelector
from schemas.operators.metric import (
    KEPT,
    MAX_WINDOW,
    METRIC,
    Metric,
    MetricDefinition,
    decode_metric,
    length_of,
)
from services.query.http.params import (
    Source,
    encode_response,
    now_ms,
    read_moment,
    read_number,
    read_source,
)
from services.query.operators.context import Context
from services.query.operators.metric.aggregates import (
    MetricAggregates,
    MetricQuery,
    ValueWindows,
)
from services.query.operators.metric.live import live_metric
from services.query.operators.metric.response import (
    MetricResponse,
    MetricResultsResponse,
    assemble,
    show,
)
from services.query.operators.metric.sql import (
    metric_statement,
    newest_statement,
    read_kept_since,
    read_seen,
    read_windows,
    seen_statement,
)
from services.query.operators.metric.sql_by_value import read_values, values_statement
from services.query.operators.metric.view import METRIC_RESULTS, MetricRecord, MetricResultsView
from services.query.operators.resource import ResourceSpec
from services.query.verify.resource import Moment, VerifiedResource

DEFAULT_BUCKETS: Final = 100


class MetricListResponse(msgspec.Struct, frozen=True):
    """Some of a project's metrics, by id; `next` is the next page's `after`, null at the end."""

    metrics: list[MetricResponse]
    next: str | None


def _define(parts: dict[str, Any], metric: Metric) -> MetricDefinition:
    return MetricDefinition(**parts, metric=metric)


_SPEC: Final = ResourceSpec(METRIC, decode_metric, _define, show, MetricListResponse)


class Metrics(VerifiedResource[Metric, MetricDefinition, MetricRecord]):
    """The endpoints under `/api/projects/{project}/metrics`."""

    def __init__(self, context: Context) -> None:
        self._results = MetricResultsView(context.partitions)
        super().__init__(_SPEC, METRIC_RESULTS, self._results, context)
        self._events = context.events
        self._projects = context.projects

    def live_state(self, definition: MetricDefinition) -> bytes:
        """Return a `LiveMetric` in JSON."""
        now = now_ms()
        query = self._as_of(now, self.context.clocks.at(definition.project_id, now), "stream")
        return live_metric(definition, self.previous(definition), self._results, query)

    def _as_of(self, now: int, clock: int | None, source: Source) -> MetricQuery:
        """Return a query of the newest buckets at a time of day, and at the project's time then."""
        return MetricQuery(
            now,
            clock=clock,
            lateness_ms=self.context.lateness_ms,
            read_until=self.context.reading.until(source),
        )

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Add the project's time zone and start of the week to a metric that names none."""
        return self._projects.with_calendar(project, fields)

    async def results(self, request: Request) -> Response:
        """Show a metric's results, of the stream or measured now in ClickHouse."""
        source = read_source(request)
        definition = self.find(request)
        now = now_ms()
        newest = self._as_of(now, self.context.clock(definition.project_id, now), source)
        query = _read_query(request, definition.metric, newest)
        if source == "store":
            prefix = await self.context.prefix(request, definition.project_id)
            if prefix is not None:
                at = max(0, now if prefix.clock is None else prefix.clock)
                query = query._replace(as_of=at, clock=prefix.clock, read_until=at)
            values = await self.measure(definition, query, prefix and prefix.positions)
            return encode_response(assemble(definition, source, values, query))
        self.results_view.require()

        def respond(
            one: MetricDefinition,
            query: MetricQuery,
            previous: MetricResultsResponse | None = None,
        ) -> MetricResultsResponse:
            return assemble(one, source, self._results.aggregates(one, query), query, previous)

        before = self.previous(definition)
        if before is None:
            return encode_response(respond(definition, query))
        window = _window(request, before.metric) or 1
        previous = respond(before, query._replace(window=window))
        return encode_response(respond(definition, query, previous))

    # On the stream they are sketches.
    not_compared = ("percentiles", "top", "off_by", "approximate")

    def selectors(self, definition: MetricDefinition) -> Sequence[EventSelector]:
        """Return what selects the events that a metric measures."""
        return (definition.metric.filter,)

    def on_stream(self, definition: MetricDefinition, moment: Moment) -> MetricResultsResponse:
        """Return the response with the stream's figures of all buckets that are kept."""
        query = MetricQuery(moment.now, limit=KEPT)
        return assemble(definition, "stream", self._results.aggregates(definition, query), query)

    async def in_store(
        self, definition: MetricDefinition, moment: Moment, positions: Mapping[int, int]
    ) -> MetricResultsResponse:
        """Return the response with ClickHouse's figures of the events below some positions."""
        query = MetricQuery(max(0, moment.now), limit=KEPT)
        measured = await self.measure(definition, query, positions)
        return assemble(definition, "store", measured, query)

    async def measure(
        self,
        definition: MetricDefinition,
        query: MetricQuery,
        positions: Mapping[int, int] | None = None,
    ) -> MetricAggregates:
        """Measure a metric in ClickHouse, over the events below some positions."""
        project = definition.project_id
        result = await self._events.query(
            project, lambda source: metric_statement(source, definition, query), positions
        )
        positions = result.positions  # so that all statements are of the same events
        kept_since = read_kept_since(definition, result)
        if kept_since is None:  # nothing is shown, but there may be older events
            newest = await self._events.query(
                project, lambda source: newest_statement(source, definition), positions
            )
            kept_since = read_kept_since(definition, newest)
        windows = read_windows(definition, result)
        values: ValueWindows = {}
        if definition.metric.breakdown is not None:
            values = read_values(
                definition,
                await self._events.query(
                    project,
                    lambda source: values_statement(source, definition, query, windows),
                    positions,
                ),
            )
        seen: dict[int, int] = {}
        if definition.metric.measure == "persons":
            seen = read_seen(
                await self._events.query(
                    project,
                    lambda source: seen_statement(source, definition, query.as_of),
                    positions,
                )
            )
        return MetricAggregates(
            windows=windows,
            values=values,
            kept_since=kept_since,
            seen=seen,
            late_dropped=0,
            updated_at=query.as_of,
            positions=result.positions,
        )


def _read_query(request: Request, metric: Metric, newest: MetricQuery) -> MetricQuery:
    return newest._replace(
        window=_read_window(request, metric),
        first=read_moment(request, "from") or 0,
        last=_or_latest(read_moment(request, "to")),
        limit=read_number(request, "limit", 1, KEPT, DEFAULT_BUCKETS),
    )


def _read_window(request: Request, metric: Metric) -> int:
    """Read how many buckets a window has.

    Raises:
        InvalidRequest: the metric has no such windows.
    """
    window = _window(request, metric)
    if window is not None:
        return window
    if metric.measure == "persons":
        raise InvalidRequest("the windows of `persons` are always the same", "window_s")
    length = length_of(metric)
    if isinstance(length, str):
        raise InvalidRequest(
            f"must not be set: a {length} has no fixed length, and each window is one {length}",
            "window_s",
        )
    raise InvalidRequest(
        f"accepted are multiples of {length}, the length of a bucket, up to {MAX_WINDOW * length}",
        "window_s",
    )


def _window(request: Request, metric: Metric) -> int | None:
    """Return how many buckets of a metric the window has; None if they do not fit into it."""
    text = request.query_params.get("window_s")
    if text is None:
        return 1
    length = length_of(metric)
    if metric.measure == "persons" or isinstance(length, str):
        return None
    if text.isascii() and text.isdigit() and len(text) < 12:
        window, rest = divmod(int(text), length)
        if not rest and 1 <= window <= MAX_WINDOW:
            return window
    return None


def _or_latest(at: int | None) -> int:
    return 2**62 if at is None else at
