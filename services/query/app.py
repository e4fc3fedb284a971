"""The application: its parts put together once, and its routes."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
from confluent_kafka import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from schemas.avro.codec import Codec
from schemas.avro.files import load
from schemas.errors import AvilaError
from schemas.operators.cohort import CohortDefinition
from schemas.operators.funnel import FunnelDefinition
from schemas.operators.metric import MetricDefinition
from schemas.operators.segment import SegmentDefinition
from schemas.plans import PlanDefinition
from schemas.registry.client import open_registry
from schemas.settings import Settings
from schemas.topics import Topic
from services.access_log import AccessLog
from services.commands import Commands
from services.errors import answer_defect, answer_error
from services.keys import view as key_view
from services.keys.view import Keys, read_keys
from services.metrics_middleware import MetricsMiddleware
from services.query import openapi
from services.query.clickhouse.client import Store
from services.query.clickhouse.queries import EventStore
from services.query.http import grpc as rpc
from services.query.http.auth import AuthMiddleware
from services.query.http.health import Check, Health, broker_check
from services.query.http.params import now_ms
from services.query.http.telemetry import Metrics
from services.query.live.event_tail import Tail
from services.query.live.feed import LiveResults
from services.query.live.socket import Live
from services.query.operators.cohort import view as cohort_view
from services.query.operators.cohort.resource import Cohorts
from services.query.operators.funnel import view as funnel_view
from services.query.operators.funnel.live import live_funnel
from services.query.operators.funnel.resource import Funnels
from services.query.operators.metric import view as metric_view
from services.query.operators.metric.live import EVERY_S, live_metric
from services.query.operators.metric.resource import ProjectMetrics
from services.query.operators.segment import view as sizes_view
from services.query.operators.segment.members import Members, read_memberships
from services.query.operators.segment.resource import Segments
from services.query.projects.plans import Plans
from services.query.projects.settings import Projects
from services.query.views.catalog import Change, Definitions, Key, read_changes
from services.query.views.latest import R, Reader, Update
from services.topic_view import TopicView
from services.worker import WorkerCheck

# Stopping waits for it; the follower asks again in any case.
_REGISTRY_TIMEOUT_S: Final = 3

_Endpoint = Callable[[Request], Awaitable[Response]]


def make_query_app(settings: Settings, *, grpc_address: str = "") -> Starlette:
    """The query service; it follows its topics for as long as the app's lifespan.

    The topics must exist by then. Broker and store may be away: `/readyz` says so. With
    `grpc_address` it also answers gRPC there; the lifespan raises `Misconfigured` if it cannot.
    """
    topics = settings.topics
    registry = open_registry(settings, timeout_s=_REGISTRY_TIMEOUT_S)
    funnel_definitions = Definitions[FunnelDefinition]("funnel")
    cohort_definitions = Definitions[CohortDefinition]("cohort")
    metric_definitions = Definitions[MetricDefinition]("metric")
    segment_definitions = Definitions[SegmentDefinition]("segment")
    plan_definitions = Definitions[PlanDefinition]("plan")
    keys = Keys()
    funnel_results = funnel_view.Results(settings.partitions)
    cohort_results = cohort_view.Results(settings.partitions)
    metric_results = metric_view.Results(settings.partitions)
    segment_sizes = sizes_view.Results(settings.partitions)
    segment_members = Members()
    live_funnels = LiveResults(funnel_definitions, lambda one: live_funnel(one, funnel_results))
    live_metrics = LiveResults(
        metric_definitions, lambda one: live_metric(one, metric_results, now_ms()), EVERY_S
    )

    def apply(changes: _Changes) -> None:
        funnel_definitions.apply(changes.definitions)
        cohort_definitions.apply(changes.definitions)
        metric_definitions.apply(changes.definitions)
        segment_definitions.apply(changes.definitions)
        plan_definitions.apply(changes.definitions)
        keys.apply(changes.keys)
        live_funnels.changed(one.key for one in changes.definitions if one.kind == "funnel")
        live_metrics.changed(one.key for one in changes.definitions if one.kind == "metric")

    def apply_funnel_results(updates: Sequence[Update[funnel_view.Result]]) -> None:
        funnel_results.apply(updates)
        live_funnels.changed(_counted(updates))

    def apply_metric_results(updates: Sequence[Update[metric_view.Result]]) -> None:
        metric_results.apply(updates)
        live_metrics.changed(_counted(updates))

    def results_of(
        name: str,
        topic: Topic,
        schema: str,
        read: Callable[[pa.RecordBatch], Sequence[R]],
        apply: Callable[[Sequence[Update[R]]], None],
    ) -> TopicView[Sequence[Update[R]]]:
        reader = Reader(Codec(load(schema), registry.find), read)
        return TopicView(name, settings.bootstrap, [topic.name], reader, apply)

    definitions_view = TopicView(
        "definitions",
        settings.bootstrap,
        [topics.definitions.name],
        _read,
        apply,
    )
    funnels_view = results_of(
        "funnels", topics.funnels, "funnel-result", funnel_view.read_results, apply_funnel_results
    )
    cohorts_view = results_of(
        "cohorts", topics.cohorts, "cohort-result", cohort_view.read_results, cohort_results.apply
    )
    metrics_view = results_of(
        "metrics", topics.metrics, "metric-result", metric_view.read_results, apply_metric_results
    )
    segment_sizes_view = results_of(
        "segment sizes",
        topics.segment_sizes,
        "segment-size",
        sizes_view.read_results,
        segment_sizes.apply,
    )
    segment_members_view = results_of(
        "segment members",
        topics.segments,
        "segment-change",
        read_memberships,
        segment_members.apply,
    )
    topic_views = (
        definitions_view,
        funnels_view,
        cohorts_view,
        metrics_view,
        segment_sizes_view,
        segment_members_view,
    )
    store = Store(settings)
    events = EventStore(store, settings.clickhouse_database)
    commands = Commands(settings, definitions_view)
    per_project = Projects(keys, definitions_view, commands)
    funnels = Funnels(
        funnel_definitions, definitions_view, funnel_results, funnels_view, commands, events
    )
    cohorts = Cohorts(
        cohort_definitions,
        definitions_view,
        cohort_results,
        cohorts_view,
        commands,
        events,
        per_project,
    )
    project_metrics = ProjectMetrics(
        metric_definitions,
        definitions_view,
        metric_results,
        metrics_view,
        commands,
        events,
        per_project,
    )
    segments = Segments(
        segment_definitions,
        definitions_view,
        segment_sizes,
        segment_sizes_view,
        segment_members,
        segment_members_view,
        commands,
        events,
    )
    plans = Plans(plan_definitions, definitions_view, commands)
    checks: dict[str, Check] = {
        "broker": broker_check(settings.bootstrap),
        "store": store.trouble,
    }
    if not settings.kafka_bootstrap:  # the whole system is on this machine
        checks["worker"] = WorkerCheck(settings)
    health = Health(topic_views, checks)
    metrics = Metrics(topic_views)
    tail = Tail(settings.bootstrap, topics.events.name, Codec(load("event"), registry.find))
    live = Live(
        keys,
        (definitions_view, funnels_view, metrics_view),
        {"funnels": live_funnels, "metrics": live_metrics},
        tail,
        metrics,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for topic_view in topic_views:
            topic_view.start()
        try:
            async with rpc.serving(grpc_address, app) if grpc_address else nullcontext():
                yield
        finally:
            await tail.stop()
            for topic_view in topic_views:
                await topic_view.stop()
            await store.close()
            registry.close()

    guard = Middleware(AuthMiddleware, keys=keys, view=definitions_view)

    def api(path: str, endpoint: _Endpoint, method: str) -> Route:
        return Route(path, endpoint, methods=[method], middleware=[guard])

    def defined(many: str, kind: Funnels | Cohorts | ProjectMetrics | Segments) -> list[Route]:
        one = f"{many}/{{id}}"
        return [
            api(many, kind.list, "GET"),
            api(many, kind.create, "POST"),
            api(one, kind.read, "GET"),
            api(one, kind.replace, "PUT"),
            api(one, kind.delete, "DELETE"),
            api(f"{one}/status", kind.status, "GET"),
            api(f"{one}/results", kind.results, "GET"),
        ]

    projects = "/api/projects/{project}"
    funnels_at, cohorts_at = f"{projects}/funnels", f"{projects}/cohorts"
    segments_at = f"{projects}/segments"
    plan_many, plan_one = f"{projects}/plans", f"{projects}/plans/{{id}}"
    return Starlette(
        routes=[
            *defined(funnels_at, funnels),
            api(f"{funnels_at}/{{id}}/times", funnels.times, "GET"),
            api(f"{funnels_at}/{{id}}/persons", funnels.persons, "GET"),
            *defined(cohorts_at, cohorts),
            api(f"{cohorts_at}/{{id}}/persons", cohorts.persons, "GET"),
            *defined(f"{projects}/metrics", project_metrics),
            *defined(segments_at, segments),
            api(f"{segments_at}/{{id}}/members", segments.members, "GET"),
            api(f"{segments_at}/{{id}}/overlap", segments.overlap, "GET"),
            api(f"{projects}/settings", per_project.read, "GET"),
            api(f"{projects}/settings", per_project.put, "PUT"),
            api(plan_many, plans.list, "GET"),
            api(plan_one, plans.read, "GET"),
            api(plan_one, plans.put, "PUT"),
            api(plan_one, plans.delete, "DELETE"),
            WebSocketRoute("/api/projects/{project}/live", live),
            Route("/healthz", health.alive, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
            Route("/metrics", metrics.answer, methods=["GET"]),
            Route("/openapi.json", _describe, methods=["GET"]),
        ],
        middleware=[
            Middleware(MetricsMiddleware, metrics=metrics, log=AccessLog(settings.access_log))
        ],
        exception_handlers={
            AvilaError: answer_error,
            HTTPException: answer_error,
            Exception: answer_defect,
        },
        lifespan=lifespan,
    )


class _Changes(NamedTuple):
    """What some records of the definitions topic say, by who wants to know."""

    definitions: Sequence[Change]
    keys: Sequence[key_view.Change]


def _read(messages: list[Message]) -> _Changes:
    return _Changes(read_changes(messages), read_keys(messages))


def _counted(updates: Iterable[Update[R]]) -> Iterator[Key]:
    """The definitions that some new results are of."""
    return (Key(*one.result.of[:2]) for one in updates if one.result)


async def _describe(_: Request) -> Response:
    return Response(msgspec.json.encode(openapi.document()), media_type="application/json")
