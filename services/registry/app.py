"""The registry's application: its parts and its routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from schemas.errors import AvilaError, BackOff, Unavailable
from schemas.registry.log import Registry
from services.access_log import AccessLog
from services.metrics_middleware import MetricsMiddleware
from services.registry.access import Access
from services.registry.errors import answer_defect, answer_error
from services.registry.ids import IdsApi
from services.registry.levels import LevelsApi
from services.registry.requests import AsyncRegistry, answer
from services.registry.subjects import SubjectsApi
from services.registry.telemetry import Metrics
from services.topic_view import TopicView

_READY_TIMEOUT_S: Final = 5


def make_registry_app(
    registry: Registry, log: AccessLog, access: Access, keys_view: TopicView[Any] | None = None
) -> Starlette:
    """Return the API over `registry`, which it closes when it shuts down.

    It runs `keys_view`, from which `access` knows the credentials.
    """
    shared, metrics = AsyncRegistry(registry), Metrics()
    subjects, levels = SubjectsApi(shared, access), LevelsApi(shared, access)
    ids = IdsApi(shared)

    async def ready(_: Request) -> Response:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await shared.view(lambda _: None)
                if keys_view is not None:
                    keys_view.require()
        except (BackOff, Unavailable, TimeoutError) as error:
            reason = str(error) or f"no answer within {_READY_TIMEOUT_S} s"
            return PlainTextResponse(f"{reason}\n", status_code=503)
        return PlainTextResponse("ready\n")

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with registry:
            if keys_view is not None:
                keys_view.start()
            try:
                yield
            finally:
                if keys_view is not None:
                    await keys_view.stop()

    # A subject may contain slashes, so the longer paths come first.
    subject = "/subjects/{subject:path}"
    versions, version = f"{subject}/versions", f"{subject}/versions/{{version}}"
    by_id = "/schemas/ids/{id}"
    return Starlette(
        routes=[
            Route("/", _hello, methods=["GET"]),
            Route("/subjects", subjects.list, methods=["GET"]),
            Route(f"{version}/schema", subjects.version, methods=["GET"]),
            Route(version, subjects.version, methods=["GET"]),
            Route(version, subjects.delete_version, methods=["DELETE"]),
            Route(versions, subjects.versions, methods=["GET"]),
            Route(versions, subjects.register, methods=["POST"]),
            Route(subject, subjects.look_up, methods=["POST"]),
            Route(subject, subjects.delete, methods=["DELETE"]),
            Route("/schemas/types", ids.types, methods=["GET"]),
            Route(by_id, ids.schema, methods=["GET"]),
            Route(f"{by_id}/schema", ids.schema, methods=["GET"]),
            Route(f"{by_id}/subjects", ids.subjects, methods=["GET"]),
            Route(f"{by_id}/versions", ids.versions, methods=["GET"]),
            *(
                route
                for address in ("/config", "/config/{subject:path}")
                for route in (
                    Route(address, levels.level, methods=["GET"]),
                    Route(address, levels.set_level, methods=["PUT"]),
                    Route(address, levels.unset_level, methods=["DELETE"]),
                )
            ),
            Route(f"/compatibility{version}", levels.test_version, methods=["POST"]),
            Route(f"/compatibility{versions}", levels.test, methods=["POST"]),
            Route("/mode", _mode, methods=["GET"]),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            Route("/metrics", metrics.answer, methods=["GET"]),
        ],
        middleware=[Middleware(MetricsMiddleware, telemetry=metrics, log=log)],
        exception_handlers={
            AvilaError: answer_error,
            HTTPException: answer_error,
            Exception: answer_defect,
        },
        lifespan=lifespan,
    )


async def _hello(_: Request) -> Response:
    return answer({})


async def _mode(_: Request) -> Response:
    return answer({"mode": "READWRITE"})


async def _alive(_: Request) -> Response:
    return PlainTextResponse("ok\n")
