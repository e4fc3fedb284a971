"""The application: its parts put together once, and its routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.dashboards import DashboardDefinition
from schemas.errors import AvilaError
from schemas.operators.segment import SEGMENT, SegmentDefinition
from schemas.plans import PlanDefinition
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.settings import Settings
from services.access_log import AccessLog
from services.commands import Commands
from services.errors import answer_defect, answer_error
from services.keys import view as key_view
from services.keys.commands import KeyCommands
from services.keys.view import Keys, read_keys
from services.metrics_middleware import MetricsMiddleware
from services.page.assets import Page
from services.places import Places
from services.query import openapi
from services.query.alerts.resource import Alerts
from services.query.alerts.routes import ALERT_ROUTES
from services.query.annotations.resource import ANNOTATION_ROUTES, Annotations
from services.query.api import OPERATOR_GROUPS
from services.query.clickhouse.client import Store
from services.query.clickhouse.queries import EventStore
from services.query.credentials.resource import Credentials
from services.query.credentials.routes import CREDENTIAL_ROUTES
from services.query.dashboards.figures import TileFigures
from services.query.dashboards.links import Links
from services.query.dashboards.resource import Dashboards
from services.query.dashboards.routes import DASHBOARD_ROUTES, LINK_ROUTES, SHARED_ROUTES
from services.query.dashboards.shared import SharedDashboards
from services.query.flags.resource import Flags
from services.query.flags.routes import FLAG_ROUTES
from services.query.http import grpc as rpc
from services.query.http.auth import AuthMiddleware
from services.query.http.health import Check, Health, broker_check
from services.query.http.routes import PROJECT_PATH, AnyGroup, Handler, checked
from services.query.http.telemetry import QueryTelemetry
from services.query.live.event_stream import EventStreams
from services.query.live.event_tail import Tail
from services.query.live.feed import LiveResults
from services.query.live.socket import MAX_CONNECTIONS, Live
from services.query.log.event_log import EventLog
from services.query.operators import OPERATORS
from services.query.operators.context import Context
from services.query.operators.contract import AnyOperator
from services.query.operators.resource import DefinitionResource
from services.query.projects.plan_check import PlanChecks
from services.query.projects.plans import Plans
from services.query.projects.reinjection import Reinjection
from services.query.projects.rejected import Rejected
from services.query.projects.routes import (
    PLAN_CHECK_ROUTES,
    PLAN_ROUTES,
    REJECTED_ROUTES,
    SETTINGS_ROUTES,
    STATUS_ROUTES,
)
from services.query.projects.settings import Projects
from services.query.projects.status import ProjectStatus
from services.query.promotion import Promotions
from services.query.queries import QUERIES
from services.query.queries.cache import AnswerCache
from services.query.queries.resource import QUERY_ROUTES, Queries
from services.query.sessions.oidc.endpoint import OidcSignIn
from services.query.sessions.oidc.provider import Provider
from services.query.sessions.resource import Sessions
from services.query.sessions.routes import OIDC_ROUTES
from services.query.sessions.routes import ROUTES as SESSION_ROUTES
from services.query.sql.resource import Sql
from services.query.sql.routes import SQL_ROUTES
from services.query.subscriptions.resource import Subscriptions
from services.query.subscriptions.routes import SUBSCRIPTION_ROUTES
from services.query.views.catalog import Definitions
from services.query.views.changes import Change, Key, read_changes
from services.query.views.dedup import DedupCoverage, read_coverage
from services.query.views.progress import StatusResponse
from services.query.views.rejected import RejectedReader, RejectedRecords
from services.topic_view import TopicView
from services.worker import WorkerCheck, WorkersNow

# The longest that stopping waits for the registry; a view's thread asks it again in any case.
_REGISTRY_TIMEOUT_S: Final = 3

_Resource = DefinitionResource[Any, Any, Any]


def make_query_app(settings: Settings, *, grpc_address: str = "") -> Starlette:
    """Return the query service, which follows its topics for as long as the app's lifespan.

    The topics must exist by then. Broker and store may be away: `/readyz` says so. With
    `grpc_address` it also answers gRPC there; the lifespan raises `Misconfigured` if it cannot.
    """
    topics = settings.topics
    registry = open_registry(settings, timeout_s=_REGISTRY_TIMEOUT_S)
    keys = Keys()
    plan_definitions = Definitions[PlanDefinition]("plan")
    dashboards = Definitions[DashboardDefinition]("dashboard")
    segments = Definitions[SegmentDefinition](SEGMENT.name)
    resources: list[_Resource] = []

    def apply(changes: _Changes) -> None:
        keys.apply(changes.keys)
        plan_definitions.apply(changes.definitions)
        dashboards.apply(changes.definitions)
        segments.apply(changes.definitions)
        annotations.apply(changes.definitions)
        subscriptions.apply(changes.definitions)
        alerts.apply(changes.definitions)
        flags.apply(changes.definitions)
        for resource in resources:
            resource.apply(changes.definitions)

    definitions_view = TopicView(
        "definitions", settings.cluster, [topics.definitions.name], _read, apply
    )
    store = Store(settings)
    events = EventStore(store, settings.clickhouse_database, EventLog(settings))
    commands = Commands(settings, definitions_view)
    projects = Projects(keys, definitions_view, commands)
    plans = Plans(plan_definitions, definitions_view, commands)
    annotations = Annotations(definitions_view, commands)
    subscriptions = Subscriptions(settings, definitions_view, commands)
    alerts = Alerts(settings, registry, subscriptions, definitions_view, commands)

    def segment_status(definition: SegmentDefinition) -> StatusResponse:
        kinds = [operator.spec for operator in OPERATORS]
        status: StatusResponse = resources[kinds.index(SEGMENT)].status_of(definition)
        return status

    flags = Flags(segments, segment_status, definitions_view, commands)

    async def promote_all() -> None:
        for resource in resources:
            await resource.promote_live()

    def defined_projects() -> set[str]:
        return {one.project_id for resource in resources for one in resource.definitions.all()}

    oidc = settings.oidc
    sessions = Sessions(
        keys,
        definitions_view,
        commands,
        defined_projects,
        provider=None if oidc is None else oidc.name,
    )
    oidc_sign_in = OidcSignIn(None if oidc is None else Provider(oidc), sessions)
    promotions = Promotions(promote_all)
    context = Context(settings, registry, definitions_view, commands, events, projects, promotions)
    resources += (_make_resource(operator, context) for operator in OPERATORS)
    topic_views = (definitions_view, *context.views)
    rejected, rejected_reader = RejectedRecords(), RejectedReader(_decoder_of(registry))
    rejected_view = TopicView(
        "rejected", settings.cluster, [topics.rejected.name], rejected_reader, rejected.apply
    )
    coverage = DedupCoverage()
    coverage_view = TopicView(
        "dedup", settings.cluster, [topics.dedup.name], read_coverage, coverage.apply
    )
    # No definition needs these, so that the service is ready without them.
    side_views: tuple[TopicView[Any], ...] = (
        rejected_view,
        coverage_view,
        subscriptions.states_view,
        *alerts.views,
    )
    telemetry = QueryTelemetry((*topic_views, *side_views))
    checks: dict[str, Check] = {
        "broker": broker_check(settings.cluster),
        "store": store.trouble,
    }
    if not settings.kafka_bootstrap:  # the whole system is on this machine
        checks["worker"] = WorkerCheck(settings)
    health = Health(topic_views, checks, {"worker": WorkersNow(settings)})
    cache = AnswerCache()
    telemetry.watch_cache(lambda: (cache.hits, cache.misses, cache.bytes))
    tail = Tail(
        settings.cluster,
        topics.events.name,
        Codec(load("event"), registry.find, shipped=history("event")),
    )
    live = {
        operator.spec.plural: resource.live
        for operator, resource in zip(OPERATORS, resources, strict=True)
        if resource.live is not None
    }
    live_views = [resource.results_view for resource in resources if resource.live is not None]
    views: list[TopicView[Any]] = [definitions_view, context.clocks_view, *live_views]
    places = Places(MAX_CONNECTIONS)
    telemetry.watch_live(lambda: places.taken)
    socket = Live(keys, views, live, tail, telemetry, places)
    event_streams = EventStreams(keys, views, live, tail, telemetry, places)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for topic_view in (*topic_views, *side_views):
            topic_view.start()
        running = [asyncio.create_task(one) for one in (promotions.run(), context.reading.run())]
        try:
            async with rpc.serving(grpc_address, app) if grpc_address else nullcontext():
                yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await tail.stop()
            for topic_view in (*topic_views, *side_views):
                await topic_view.stop()
            await oidc_sign_in.close()
            await store.close()
            registry.close()

    auth = partial(Middleware, AuthMiddleware, keys=keys, view=definitions_view)
    queries = Queries(context, segments, cache)
    page = Page()
    find = partial(_finder, dict(zip((one.spec.name for one in OPERATORS), resources, strict=True)))
    figures = TileFigures(
        {resource.name: resource.results for resource in resources},
        {kind.spec.name: partial(queries.answer, kind) for kind in QUERIES},
        find,
        projects,
    )
    shared = SharedDashboards(dashboards, keys, definitions_view, figures, find, page)
    answering = [
        *zip(OPERATOR_GROUPS, resources, strict=True),
        (SETTINGS_ROUTES, projects),
        (QUERY_ROUTES, queries),
        (SQL_ROUTES, Sql(store, settings.clickhouse_database)),
        (PLAN_ROUTES, plans),
        (REJECTED_ROUTES, Rejected(rejected, rejected_view, Reinjection(settings, registry))),
        (PLAN_CHECK_ROUTES, PlanChecks(context)),
        (CREDENTIAL_ROUTES, Credentials(KeyCommands(keys, commands), definitions_view)),
        (STATUS_ROUTES, ProjectStatus(coverage, coverage_view, settings.dedup_window_s)),
        (DASHBOARD_ROUTES, Dashboards(dashboards, keys, definitions_view, commands, figures)),
        (LINK_ROUTES, Links(dashboards, keys, definitions_view, commands)),
        (ANNOTATION_ROUTES, annotations),
        (SUBSCRIPTION_ROUTES, subscriptions),
        (ALERT_ROUTES, alerts),
        (FLAG_ROUTES, flags),
    ]
    public: dict[str, Handler] = {
        "/": page.index,
        "/healthz": health.alive,
        "/readyz": health.ready,
        "/health": health.parts,
        "/metrics": telemetry.answer,
        "/openapi.json": _describe,
    }
    return Starlette(
        routes=[
            *(route for group, resource in answering for route in _routes(group, resource, auth)),
            *(
                Route(
                    route.path,
                    checked(partial(route.handle, sessions), route.operation),
                    methods=[route.method],
                )
                for route in SESSION_ROUTES
            ),
            *(
                Route(route.path, partial(route.handle, oidc_sign_in), methods=["GET"])
                for route in OIDC_ROUTES
            ),
            *(
                Route(
                    route.path,
                    checked(partial(route.handle, shared), route.operation),
                    methods=["GET"],
                )
                for route in SHARED_ROUTES
            ),
            WebSocketRoute(f"{PROJECT_PATH}/live", socket),
            Route(f"{PROJECT_PATH}/live/{{topic}}", event_streams.answer, methods=["GET"]),
            Route(f"{PROJECT_PATH}/live/{{topic}}/{{id}}", event_streams.answer, methods=["GET"]),
            Mount("/assets", page.asset),
            *(
                Route(path, checked(public[path], operation), methods=["GET"])
                for path, operation in openapi.PUBLIC.items()
            ),
        ],
        middleware=[
            Middleware(MetricsMiddleware, telemetry=telemetry, log=AccessLog(settings.access_log))
        ],
        exception_handlers={
            AvilaError: answer_error,
            HTTPException: answer_error,
            Exception: answer_defect,
        },
        lifespan=lifespan,
    )


def _decoder_of(registry: SchemaRegistry) -> Callable[[bytes], dict[str, Any] | None]:
    """Return what decodes the event in a value, or returns None if there is none."""
    codec = Codec(load("event"), registry.find)

    def decode(value: bytes) -> dict[str, Any] | None:
        rows: list[dict[str, Any]] = codec.decode([value]).batch.to_pylist()
        return rows[0] if rows else None

    return decode


def _make_resource(operator: AnyOperator, context: Context) -> _Resource:
    resource: _Resource = operator.resource(context)
    if operator.live is not None:
        read = partial(operator.live.read, resource)
        resource.live = LiveResults(resource.definitions, read, operator.live.refresh_s)
    return resource


def _finder(resources: Mapping[str, _Resource], project: str) -> Callable[[str, str], Any]:
    """Return what finds the definitions of a project, by kind and id."""
    return lambda kind, name: resources[kind].definitions.get(Key(project, name))


def _routes(group: AnyGroup, resource: object, auth: Callable[..., Middleware]) -> list[Route]:
    return [
        Route(
            route.matched_path,
            checked(partial(route.handle, resource), route.operation),
            methods=[route.method],
            middleware=[auth(scope=route.scope)],
        )
        for route in group.routes
    ]


class _Changes(NamedTuple):
    """What some records of the definitions topic say, by who needs it."""

    definitions: Sequence[Change]
    keys: Sequence[key_view.Change]


def _read(messages: list[Message]) -> _Changes:
    return _Changes(read_changes(messages), read_keys(messages))


async def _describe(_: Request) -> Response:
    return Response(msgspec.json.encode(openapi.document()), media_type="application/json")
