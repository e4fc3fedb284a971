"""The ingest service's application: the doors on the hot route, everything else on Starlette."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import AvilaError, Misconfigured, Unavailable
from services.errors import answer_defect, answer_error
from services.ingest import rpc
from services.ingest.admission import Admission
from services.ingest.calls import Calls
from services.ingest.doors import Door
from services.ingest.doors.native import Native
from services.ingest.encode import Encoder
from services.ingest.endpoint import Endpoint
from services.ingest.limits import Limits
from services.ingest.metrics import Metrics
from services.ingest.path import Path
from services.ingest.produce import Producer

DOORS: Final[tuple[Door, ...]] = (Native(),)


def now_ms() -> int:
    """The time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class IngestApp:
    """The ASGI application. It has a producer from its start to its shutdown.

    `grpc_address` is where it answers gRPC beside HTTP, "" for nowhere. `on_fatal` is called in the
    loop with what ends the service: gRPC cannot listen, or nothing can be delivered any more.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        schema_id: int,
        limits: Limits,
        *,
        on_fatal: Callable[[AvilaError], None],
        grpc_address: str = "",
        clock: Callable[[], int] = now_ms,
        doors: Iterable[Door] = DOORS,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._encoder = Encoder(schema_id)
        self._limits = limits
        self._grpc_address = grpc_address
        self._on_fatal = on_fatal
        self._clock = clock
        self._doors = tuple(doors)
        self._metrics = Metrics()
        self._producer: Producer | None = None
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
        producer = Producer(self._bootstrap, self._topic, limits, self._cannot_deliver)
        admission = Admission(producer, limits)
        path = Path(producer, self._encoder, limits, self._clock)
        self._metrics.watch(lambda: producer.unacknowledged, lambda: admission.held_bytes)
        for door in self._doors:
            endpoint = Endpoint(door, path, admission, limits, self._metrics)
            self._hot |= dict.fromkeys(door.paths, endpoint)
        self._producer = producer
        async with AsyncExitStack() as stack:
            stack.push_async_callback(producer.close)
            if self._grpc_address:
                calls = Calls(path, admission, limits, self._metrics)
                server = rpc.serving(self._grpc_address, calls, limits, producer.is_ready)
                try:
                    await stack.enter_async_context(server)
                except Misconfigured as error:
                    self._on_fatal(error)
            yield

    def _cannot_deliver(self, reason: str) -> None:
        self._on_fatal(Unavailable(f"events cannot be delivered to Kafka any more: {reason}"))

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if self._producer is not None and await self._producer.is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("the broker does not answer\n", status_code=503)

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")
