"""The ASGI application: formats are routed directly, everything else by Starlette."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NamedTuple

from confluent_kafka import Message as Record
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.cluster import Address
from schemas.errors import AvilaError, Misconfigured, NotFound, Unavailable
from services.access_log import AccessLog
from services.errors import answer_defect, answer_error, error_response
from services.ingest import cors
from services.ingest import grpc_server as rpc
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.encode import Encoder
from services.ingest.endpoint import HttpEndpoint
from services.ingest.fast_path.recent import RecentEvents
from services.ingest.flags import endpoint as flags_endpoint
from services.ingest.flags.catalog import FlagCatalog, FlagChanges, read_flag_changes
from services.ingest.flags.endpoint import FlagsEndpoint
from services.ingest.flags.members import SegmentMembers
from services.ingest.flags.reading import SegmentSource
from services.ingest.formats import EventFormat
from services.ingest.formats.amplitude import Amplitude
from services.ingest.formats.native import Native
from services.ingest.formats.posthog import PostHog
from services.ingest.formats.posthog_v1 import PostHogV1
from services.ingest.formats.segment import Segment
from services.ingest.formats.snowplow import Snowplow, SnowplowPixel
from services.ingest.grpc_service import IngestService
from services.ingest.limits import Limits
from services.ingest.paths import canonical_path
from services.ingest.pipeline import IngestPipeline
from services.ingest.plans import PlanChange, Plans, read_changes
from services.ingest.produce import Producer
from services.ingest.request_log import RequestLog
from services.ingest.stubs import stub_routes
from services.ingest.telemetry import IngestTelemetry
from services.ingest.times import now_ms
from services.ingest.websocket import STREAM_PATH, WebSocketEndpoint
from services.keys import view as key_view
from services.keys.view import Keys, read_keys
from services.listening import client_of
from services.topic_view import TopicView

FORMATS: Final[tuple[EventFormat, ...]] = (
    Native(),
    Segment(),
    PostHog(),
    PostHogV1(),
    Amplitude(),
    Snowplow(),
    SnowplowPixel(),
)


class _Changes(NamedTuple):
    """The changes that some records of the definitions topic make."""

    keys: Sequence[key_view.Change]
    plans: Sequence[PlanChange]
    flags: FlagChanges


def _read_definitions(messages: list[Record]) -> _Changes:
    return _Changes(read_keys(messages), read_changes(messages), read_flag_changes(messages))


class IngestApp:
    """The ASGI application. Between startup and shutdown it produces, and follows definitions.

    Events go to `topic`. Write keys, tracking plans and flags come from `definitions`; no event is
    taken until they are read. `segments` is where the members of segments that flags name come
    from. The application serves gRPC on `grpc_address` unless it is "". `on_fatal`
    is called in the loop with the error that ends the service: gRPC cannot listen, or the producer
    can deliver no more.
    """

    def __init__(
        self,
        cluster: Address,
        topic: str,
        definitions: str,
        segments: SegmentSource,
        schema_id: int,
        limits: Limits,
        *,
        on_fatal: Callable[[AvilaError], None],
        grpc_address: str = "",
        clock: Callable[[], int] = now_ms,
        formats: Iterable[EventFormat] = FORMATS,
        access_log: AccessLog | None = None,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._keys, self._plans = Keys(), Plans()
        self._flags, self._members = FlagCatalog(), SegmentMembers(segments)
        self._definitions = TopicView(
            "definitions", cluster, [definitions], _read_definitions, self._apply
        )
        self._encoder = Encoder(schema_id)
        self._limits = limits
        self._grpc_address = grpc_address
        self._on_fatal = on_fatal
        self._clock = clock
        self._formats = tuple(formats)
        self._telemetry = IngestTelemetry()
        self._request_log = RequestLog(self._telemetry, access_log or AccessLog("none"))
        self._producer: Producer | None = None
        self._websocket: WebSocketEndpoint | None = None
        self._endpoints: dict[str, ASGIApp] = {}
        self._starlette = Starlette(
            routes=[
                _get("/", self._index),
                _get("/health", self._healthz),
                _get("/healthz", self._healthz),
                _get("/readyz", self._readyz),
                _get("/metrics", self._metrics),
                _get(STREAM_PATH, _require_upgrade),
                *stub_routes(self._may_have_flags),
            ],
            lifespan=self._lifespan,
            exception_handlers={
                404: _not_found,
                HTTPException: answer_error,
                Exception: answer_defect,
            },
        )
        self._starlette.router.redirect_slashes = False  # paths are canonical already

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, connection or lifespan."""
        if scope["type"] == "http":
            path = scope["path"]
            endpoint = self._endpoints.get(path) or self._endpoints.get(canonical_path(path))
            await (endpoint or self._answer_elsewhere)(scope, receive, send)
        elif scope["type"] == "websocket" and self._websocket is not None:
            if canonical_path(scope["path"]) == STREAM_PATH:
                await self._websocket(scope, receive, send)
            else:
                await self._websocket.refuse_path(scope, receive, send)
        else:
            await self._starlette(scope, receive, send)

    async def _answer_elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request to a path that belongs to no format, and log it."""
        start = time.perf_counter()
        path, status = scope["path"], 500

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._starlette(dict(scope, path=canonical_path(path)), receive, observe)
        finally:
            seconds = time.perf_counter() - start
            client = client_of(scope)
            self._request_log.answered_elsewhere(status, seconds, client=client, path=path)

    async def drain(self) -> None:
        """Answer what was read from WebSockets, then close them all."""
        if self._websocket is not None:
            await self._websocket.drain()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        limits = self._limits
        producer = Producer(self._cluster, self._topic, limits, self._cannot_deliver)
        admission = Admission(producer, limits)
        access = Access(self._keys, lambda: self._definitions.caught_up, self._clock)
        recent = RecentEvents(limits.dedup_window_s * 1_000)
        pipeline = IngestPipeline(
            producer, self._encoder, limits, access, self._plans, recent, self._clock
        )
        websocket = WebSocketEndpoint(pipeline, access, admission, limits, self._request_log)
        self._telemetry.watch(
            lambda: producer.unacknowledged, lambda: admission.held_bytes, lambda: websocket.open
        )
        for event_format in self._formats:
            endpoint = HttpEndpoint(event_format, pipeline, admission, limits, self._request_log)
            for path in event_format.paths:
                self._endpoints |= {path: endpoint, f"{path}/": endpoint}
        flags = FlagsEndpoint(
            self._flags,
            self._members,
            access,
            admission,
            limits,
            self._request_log,
            self._clock,
        )
        for path in flags_endpoint.PATHS:
            self._endpoints |= {path: flags, f"{path}/": flags}
        self._producer = producer
        self._websocket = websocket
        async with AsyncExitStack() as stack:
            self._definitions.start()
            following = asyncio.create_task(self._members.run())
            stack.push_async_callback(_end, following)
            stack.push_async_callback(self._definitions.stop)
            stack.push_async_callback(producer.close)
            if self._grpc_address:
                service = IngestService(pipeline, access, admission, limits, self._request_log)
                server = rpc.serving(self._grpc_address, service, limits, self._is_ready)
                try:
                    await stack.enter_async_context(server)
                except Misconfigured as error:
                    self._on_fatal(error)
            yield

    def _apply(self, changes: _Changes) -> None:
        self._keys.apply(changes.keys)
        self._plans.apply(changes.plans)
        self._flags.apply(changes.flags)
        if changes.flags.flags or changes.flags.segments:
            self._members.want(self._flags.named_segments())

    def _may_have_flags(self, key: str) -> bool:
        """Whether the project of a write key has flags, or may have some as far as is known."""
        if not self._definitions.caught_up:
            return True
        found = self._keys.write_keys.get(key)
        return found is not None and bool(self._flags.rules(found.project_id))

    def _cannot_deliver(self, reason: str) -> None:
        self._on_fatal(Unavailable(f"the producer can deliver no more events to Kafka: {reason}"))

    async def _unready_reason(self) -> str:
        """Return why the service cannot take events; "" if it can."""
        if self._producer is None or not await self._producer.is_ready():
            return "the broker does not answer"
        if reason := self._definitions.trouble:
            return f"the definitions: {reason}"
        waiting_for = self._members.waiting_for
        return f"still reading {waiting_for}" if waiting_for else ""

    async def _is_ready(self) -> bool:
        return not await self._unready_reason()

    async def _index(self, _: Request) -> Response:
        formats = (f"{one.name}: {' '.join(one.paths)}" for one in self._formats)
        return PlainTextResponse("\n".join(("Avila Analytics takes events here.", *formats, "")))

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if reason := await self._unready_reason():
            return PlainTextResponse(f"{reason}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def _metrics(self, _: Request) -> Response:
        return Response(self._telemetry.text(), media_type="text/plain; version=0.0.4")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _get(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return a route that answers GET, HEAD and OPTIONS."""

    async def respond(request: Request) -> Response:
        if request.method == "OPTIONS":
            return cors.options_response(request, {"GET"})
        return await answer(request)

    return Route(path, respond, methods=["GET", "OPTIONS"])


async def _not_found(request: Request, _: Exception) -> Response:
    what = f"there is nothing at {request.url.path[:200]!r}: GET / lists the paths of all formats"
    response = error_response(NotFound(what))
    if origin := request.headers.get("origin"):  # so that a page sees the error, and not CORS's own
        response.raw_headers += cors.allow_origin(origin.encode("latin-1"))
    return response


async def _require_upgrade(_: Request) -> Response:
    raise HTTPException(426, "a WebSocket is accepted here", {"Upgrade": "websocket"})
