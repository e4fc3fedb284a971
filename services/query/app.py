"""The application: its parts put together once, and its routes."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.codec import Codec
from schemas.definitions import FunnelDefinition
from schemas.errors import AvilaError
from schemas.files import load
from schemas.plans import PlanDefinition
from schemas.registries import open_registry
from schemas.settings import Settings
from services.errors import answer_defect, answer_error
from services.measured import Measured
from services.query import openapi
from services.query.commands import Commands
from services.query.definitions import Change, Definitions, read_changes
from services.query.following import Following
from services.query.funnel_store import FunnelStore
from services.query.funnels import Funnels
from services.query.health import Health, broker_check
from services.query.metrics import Metrics
from services.query.plans import Plans
from services.query.results import ResultReader, Results
from services.query.store import Store

# Stopping waits for it; the follower asks again in any case.
_REGISTRY_WITHIN_S: Final = 3


def make_query_app(settings: Settings) -> Starlette:
    """The query service; it follows its topics for as long as the app's lifespan.

    The topics must exist by then. Broker and store may be away: `/readyz` says so.
    """
    topics = settings.topics
    registry = open_registry(settings, timeout_s=_REGISTRY_WITHIN_S)
    funnel_definitions = Definitions[FunnelDefinition]("funnel")
    plan_definitions = Definitions[PlanDefinition]("plan")
    results = Results()

    def take(changes: list[Change]) -> None:
        funnel_definitions.apply(changes)
        plan_definitions.apply(changes)

    definitions_view = Following(
        "definitions",
        settings.bootstrap,
        [topics.definitions.name],
        read_changes,
        take,
    )
    results_view = Following(
        "funnels",
        settings.bootstrap,
        [topics.funnels.name],
        ResultReader(Codec(load("funnel-result"), registry.find)),
        results.apply,
    )
    followings = (definitions_view, results_view)
    store = Store(settings)
    commands = Commands(settings, definitions_view)
    funnels = Funnels(
        funnel_definitions,
        definitions_view,
        results,
        results_view,
        commands,
        FunnelStore(store, settings.clickhouse_database),
    )
    plans = Plans(plan_definitions, definitions_view, commands)
    health = Health(
        followings, {"broker": broker_check(settings.bootstrap), "store": store.trouble}
    )
    metrics = Metrics(followings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for following in followings:
            following.start()
        try:
            yield
        finally:
            for following in followings:
                await following.stop()
            await store.close()
            registry.close()

    many, one = "/api/projects/{project}/funnels", "/api/projects/{project}/funnels/{id}"
    plan = "/api/projects/{project}/plans/{id}"
    return Starlette(
        routes=[
            Route(many, funnels.list, methods=["GET"]),
            Route(many, funnels.create, methods=["POST"]),
            Route(one, funnels.read, methods=["GET"]),
            Route(one, funnels.replace, methods=["PUT"]),
            Route(one, funnels.delete, methods=["DELETE"]),
            Route(f"{one}/results", funnels.results, methods=["GET"]),
            Route("/api/projects/{project}/plans", plans.list, methods=["GET"]),
            Route(plan, plans.read, methods=["GET"]),
            Route(plan, plans.put, methods=["PUT"]),
            Route(plan, plans.delete, methods=["DELETE"]),
            Route("/healthz", health.alive, methods=["GET"]),
            Route("/readyz", health.ready, methods=["GET"]),
            Route("/metrics", metrics.answer, methods=["GET"]),
            Route("/openapi.json", _describe, methods=["GET"]),
        ],
        middleware=[Middleware(Measured, metrics=metrics)],
        exception_handlers={
            AvilaError: answer_error,
            HTTPException: answer_error,
            Exception: answer_defect,
        },
        lifespan=lifespan,
    )


async def _describe(_: Request) -> Response:
    return Response(msgspec.json.encode(openapi.document()), media_type="application/json")
