"""The ingest service's application: the doors on the hot route, everything else on Starlette."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from confluent_kafka import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import AvilaError, Misconfigured, Unavailable
from services.access_log import AccessLog
from services.errors import answer_defect, answer_error
from services.ingest import grpc_server as rpc
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.encode import Encoder
from services.ingest.endpoint import Endpoint
from services.ingest.formats import EventFormat
from services.ingest.formats.amplitude import Amplitude
from services.ingest.formats.native import Native
from services.ingest.formats.posthog import PostHog
from services.ingest.formats.posthog_v1 import PostHogV1
from services.ingest.formats.segment import Segment
from services.ingest.formats.snowplow import Snowplow, SnowplowPixel
from services.ingest.grpc_service import Calls
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.plans import Change, Plans, read_changes
from services.ingest.produce import Producer
from services.ingest.request_log import RequestLog
from services.ingest.stubs import STUBS
from services.ingest.telemetry import Metrics
from services.ingest.times import now_ms
from services.ingest.websocket import STREAM, Sockets
from services.keys import view as key_view
from services.keys.view import Keys, read_keys
from services.topic_view import TopicView

DOORS: Final[tuple[EventFormat, ...]] = (
    Native(),
    Segment(),
    PostHog(),
    PostHogV1(),
    Amplitude(),
    Snowplow(),
    SnowplowPixel(),
)


class _Changes(NamedTuple):
    """What some records of the definitions topic say, by who wants to know."""

    keys: Sequence[key_view.Change]
    plans: Sequence[Change]


def _read(messages: list[Message]) -> _Changes:
    return _Changes(read_keys(messages), read_changes(messages))


class IngestApp:
    """The ASGI application. From its start to its shutdown it produces, and follows definitions.

    `topic` is where events go, `definitions` where write keys and tracking plans come from; no
    event is taken before both are known. `grpc_address` is where it answers gRPC beside HTTP, ""
    for nowhere. `on_fatal` is called in the loop with what ends the service: gRPC cannot listen, or
    nothing can be delivered any more.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        definitions: str,
        schema_id: int,
        limits: Limits,
        *,
        on_fatal: Callable[[AvilaError], None],
        grpc_address: str = "",
        clock: Callable[[], int] = now_ms,
        doors: Iterable[EventFormat] = DOORS,
        access_log: AccessLog | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._keys, self._plans = Keys(), Plans()
        self._following = TopicView("definitions", bootstrap, [definitions], _read, self._apply)
        self._encoder = Encoder(schema_id)
        self._limits = limits
        self._grpc_address = grpc_address
        self._on_fatal = on_fatal
        self._clock = clock
        self._doors = tuple(doors)
        self._metrics = Metrics()
        self._journal = RequestLog(self._metrics, access_log or AccessLog("none"))
        self._producer: Producer | None = None
        self._sockets: Sockets | None = None
        self._hot: dict[str, ASGIApp] = {}
        self._rest = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
                Route(STREAM, _upgrade),
                *STUBS,
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: answer_error, Exception: answer_defect},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's own life."""
        door: ASGIApp | None = None
        if scope["type"] == "http":
            door = self._hot.get(scope["path"])
        elif scope["type"] == "websocket" and scope["path"] == STREAM:
            door = self._sockets
        await (door or self._rest)(scope, receive, send)

    async def drain(self) -> None:
        """Answer what was read from WebSockets, and close them; there are none afterwards."""
        if self._sockets is not None:
            await self._sockets.drain()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        limits = self._limits
        producer = Producer(self._bootstrap, self._topic, limits, self._cannot_deliver)
        admission = Admission(producer, limits)
        access = Access(self._keys, lambda: self._following.caught_up, self._clock)
        path = IngestPipeline(producer, self._encoder, limits, access, self._plans, self._clock)
        sockets = Sockets(path, access, admission, limits, self._journal)
        self._metrics.watch(
            lambda: producer.unacknowledged, lambda: admission.held_bytes, lambda: sockets.open
        )
        for door in self._doors:
            endpoint = Endpoint(door, path, admission, limits, self._journal)
            self._hot |= dict.fromkeys(door.paths, endpoint)
        self._producer = producer
        self._sockets = sockets
        async with AsyncExitStack() as stack:
            self._following.start()
            stack.push_async_callback(self._following.stop)
            stack.push_async_callback(producer.close)
            if self._grpc_address:
                calls = Calls(path, admission, limits, self._journal)
                server = rpc.serving(self._grpc_address, calls, limits, self._is_ready)
                try:
                    await stack.enter_async_context(server)
                except Misconfigured as error:
                    self._on_fatal(error)
            yield

    def _apply(self, changes: _Changes) -> None:
        self._keys.apply(changes.keys)
        self._plans.apply(changes.plans)

    def _cannot_deliver(self, reason: str) -> None:
        self._on_fatal(Unavailable(f"events cannot be delivered to Kafka any more: {reason}"))

    async def _trouble(self) -> str:
        """What keeps it from taking events, "" if nothing does."""
        if self._producer is None or not await self._producer.is_ready():
            return "the broker does not answer"
        trouble = self._following.trouble
        return f"the definitions: {trouble}" if trouble else ""

    async def _is_ready(self) -> bool:
        return not await self._trouble()

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if trouble := await self._trouble():
            return PlainTextResponse(f"{trouble}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")


async def _upgrade(_: Request) -> Response:
    raise HTTPException(426, "a WebSocket is accepted here", {"Upgrade": "websocket"})
