"""The metrics of a project over HTTP: what they are, and their figures.

Not those of this process for Prometheus, which are in `services.query.http.telemetry`.
"""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.operators.metric import (
    KEPT,
    MAX_METRICS_PER_PROJECT,
    MAX_WINDOW,
    Metric,
    MetricDefinition,
    decode_metric,
    encode,
)
from schemas.time.rfc3339 import read_time
from services.commands import Commands
from services.query.clickhouse.conditions import check_names
from services.query.clickhouse.queries import EventStore
from services.query.http.params import json_answer, now_ms, read_source
from services.query.http.resource import DefinitionResource, ResourceSpec
from services.query.operators.metric.response import Asked, Counted, MetricAnswer, assemble, show
from services.query.operators.metric.sql import (
    metric_statement,
    read_figures,
    read_seen,
    seen_statement,
)
from services.query.operators.metric.view import Results
from services.query.projects.settings import Projects
from services.query.views.catalog import Definitions
from services.topic_view import TopicView

DEFAULT_BUCKETS = 100


class MetricPage(msgspec.Struct, frozen=True):
    """Some of a project's metrics, by id; `next` is the next page's `after`, null at the end."""

    metrics: list[MetricAnswer]
    next: str | None


def _read(body: bytes) -> Metric:
    metric = decode_metric(body)
    check_names(metric.filter.where, "filter.where")
    if metric.property is not None and metric.property.startswith("^`"):
        raise InvalidRequest("a name that begins with ^` is not accepted", "property")
    return metric


def _define(parts: dict[str, Any], metric: Metric) -> MetricDefinition:
    return MetricDefinition(**parts, metric=metric)


METRIC = ResourceSpec("metric", MAX_METRICS_PER_PROJECT, _read, _define, encode, show, MetricPage)


class ProjectMetrics(DefinitionResource[Metric, MetricDefinition]):
    """The endpoints under `/api/projects/{project}/metrics`."""

    def __init__(
        self,
        definitions: Definitions[MetricDefinition],
        view: TopicView[Any],
        results: Results,
        results_view: TopicView[Any],
        commands: Commands,
        store: EventStore,
        projects: Projects,
    ) -> None:
        super().__init__(METRIC, definitions, view, results, results_view, commands)
        self._results = results
        self._results_view = results_view
        self._store = store
        self._projects = projects

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """With the project's time zone, if it names none."""
        return self._projects.completed(project, fields)

    async def results(self, request: Request) -> Response:
        """Show a metric's figures, as the stream has them or measured anew in ClickHouse."""
        source = read_source(request)
        definition = self.find(request)
        asked = _read_asked(request, definition.metric)
        if source == "stream":
            self._results_view.require()
            counted = self._results.figures(definition, asked)
        else:
            counted = await self._ask(definition, asked)
        return json_answer(assemble(definition, source, counted, asked))

    async def _ask(self, definition: MetricDefinition, asked: Asked) -> Counted:
        project = definition.project_id
        answer = await self._store.ask(
            project, lambda database: metric_statement(database, definition, asked)
        )
        seen: dict[int, int] = {}
        if definition.metric.measure == "persons":
            seen = read_seen(
                await self._store.ask(
                    project, lambda database: seen_statement(database, definition, asked.as_of)
                )
            )
        return Counted(
            figures=read_figures(definition, answer),
            seen=seen,
            late_dropped=0,
            complete_until=None,
            updated_at=asked.as_of,
            positions=answer.positions,
        )


def _read_asked(request: Request, metric: Metric) -> Asked:
    return Asked(
        as_of=now_ms(),
        window=_read_window(request, metric),
        first=_read_instant(request, "from", 0),
        last=_read_instant(request, "to", 2**62),
        limit=_read_limit(request),
    )


def _read_window(request: Request, metric: Metric) -> int:
    """How many buckets the windows have that are asked for."""
    text = request.query_params.get("window_s")
    if text is None:
        return 1
    if metric.measure == "persons":
        raise InvalidRequest("the windows of `persons` are always the same", "window_s")
    if text.isascii() and text.isdigit() and len(text) < 12:
        window, rest = divmod(int(text), metric.bucket_s)
        if not rest and 1 <= window <= MAX_WINDOW:
            return window
    raise InvalidRequest(
        f"accepted are multiples of {metric.bucket_s}, the length of a bucket, up to "
        f"{MAX_WINDOW * metric.bucket_s}",
        "window_s",
    )


def _read_instant(request: Request, name: str, otherwise: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    at = read_time(text)
    if at is None or at < 0:
        raise InvalidRequest("accepted is a time, as 2026-11-22 or 2026-11-22T10:00:00Z", name)
    return at


def _read_limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_BUCKETS))
    if text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= KEPT:
        return int(text)
    raise InvalidRequest(f"accepted are 1 to {KEPT}", "limit")
