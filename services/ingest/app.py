"""The ingest service's application: the doors on the hot route, everything else on Starlette."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.errors import answer_defect, answer_error
from services.ingest.admission import Admission
from services.ingest.doors import Door
from services.ingest.doors.native import Native
from services.ingest.encode import Encoder
from services.ingest.endpoint import Endpoint
from services.ingest.limits import Limits
from services.ingest.metrics import Metrics
from services.ingest.path import Path
from services.ingest.plans import Change, Plans, read_changes
from services.ingest.produce import Producer
from services.query.following import Following

DOORS: Final[tuple[Door, ...]] = (Native(),)

_PLANS_WITHIN_S: Final = 10


def now_ms() -> int:
    """The time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class IngestApp:
    """The ASGI application. It has a producer from its start to its shutdown.

    `on_fatal` is called in the loop when nothing can be delivered any more.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        definitions: str,
        schema_id: int,
        limits: Limits,
        *,
        on_fatal: Callable[[str], None],
        clock: Callable[[], int] = now_ms,
        doors: Iterable[Door] = DOORS,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._definitions = definitions
        self._encoder = Encoder(schema_id)
        self._limits = limits
        self._on_fatal = on_fatal
        self._clock = clock
        self._doors = tuple(doors)
        self._metrics = Metrics()
        self._producer: Producer | None = None
        self._following: Following[list[Change]] | None = None
        self._hot: dict[str, ASGIApp] = {}
        self._rest = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: answer_error, Exception: answer_defect},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's own life."""
        door = self._hot.get(scope["path"]) if scope["type"] == "http" else None
        await (door or self._rest)(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        limits = self._limits
        producer = Producer(self._bootstrap, self._topic, limits, self._on_fatal)
        admission = Admission(producer, limits)
        plans = Plans()
        following = Following(
            "plans", self._bootstrap, [self._definitions], read_changes, plans.apply
        )
        path = Path(producer, self._encoder, plans, limits, self._clock)
        self._metrics.watch(lambda: producer.unacknowledged, lambda: admission.held_bytes)
        for door in self._doors:
            endpoint = Endpoint(door, path, admission, limits, self._metrics)
            self._hot |= dict.fromkeys(door.paths, endpoint)
        self._producer = producer
        self._following = following
        following.start()
        try:
            await self._read_plans(following)
            yield
        finally:
            await following.stop()
            await producer.close()

    async def _read_plans(self, following: Following[list[Change]]) -> None:
        """Wait for the plans, so that none of them lets the first events pass; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PLANS_WITHIN_S):
                await following.catch_up()

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if self._producer is None or not await self._producer.is_ready():
            return PlainTextResponse("the broker does not answer\n", status_code=503)
        if self._following is not None and self._following.trouble:
            return PlainTextResponse(f"plans: {self._following.trouble}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")
