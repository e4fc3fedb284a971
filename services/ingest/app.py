"""The ingest service's application: the doors on the hot route, everything else on Starlette."""

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
from services.following import Following
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.doors import Door
from services.ingest.doors.native import Native
from services.ingest.doors.posthog import PostHog
from services.ingest.doors.posthog_v1 import PostHogV1
from services.ingest.doors.segment import Segment
from services.ingest.encode import Encoder
from services.ingest.endpoint import Endpoint
from services.ingest.limits import Limits
from services.ingest.metrics import Metrics
from services.ingest.path import Path
from services.ingest.produce import Producer
from services.ingest.stubs import STUBS
from services.ingest.times import now_ms
from services.keys.view import Keys, read_keys

DOORS: Final[tuple[Door, ...]] = (Native(), Segment(), PostHog(), PostHogV1())


class IngestApp:
    """The ASGI application. From its start to its shutdown it has a producer, and follows the keys.

    `topic` is where events go, `definitions` where write keys come from. `on_fatal` is called in
    the loop when nothing can be delivered any more.
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
        self._keys = Keys()
        self._following = Following("keys", bootstrap, [definitions], read_keys, self._keys.apply)
        self._encoder = Encoder(schema_id)
        self._limits = limits
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
                *STUBS,
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
        access = Access(self._keys, lambda: self._following.caught_up, self._clock)
        path = Path(producer, self._encoder, limits, access, self._clock)
        self._metrics.watch(lambda: producer.unacknowledged, lambda: admission.held_bytes)
        for door in self._doors:
            endpoint = Endpoint(door, path, admission, limits, self._metrics)
            self._hot |= dict.fromkeys(door.paths, endpoint)
        self._producer = producer
        self._following.start()
        try:
            yield
        finally:
            await producer.close()
            await self._following.stop()

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if self._producer is None or not await self._producer.is_ready():
            return PlainTextResponse("the broker does not answer\n", status_code=503)
        if trouble := self._following.trouble:
            return PlainTextResponse(f"the write keys: {trouble}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")
