"""Run the ingest service as a process."""

import asyncio
import gc
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

import structlog
import uvicorn

from schemas.avro.files import load
from schemas.errors import AvilaError
from schemas.idle_memory import return_memory_when_idle
from schemas.operators.segment import SEGMENT
from schemas.registry.client import open_registry
from schemas.settings import GRPC_PORT, INGEST_PORT, Settings
from schemas.topic import Topic
from services.access_log import AccessLog
from services.connections import connection_class
from services.ingest.app import IngestApp
from services.ingest.flags.reading import SegmentSource
from services.ingest.limits import Limits, read_limits
from services.listening import grpc_address, listen
from services.sockets import Protocol
from services.topics import ensure_topics

_log = structlog.get_logger()

# The longest that a question to the registry waits; the thread that asked asks again.
_REGISTRY_TIMEOUT_S: Final = 3


def segments_topic(settings: Settings) -> Topic:
    """Return the topic that says who enters and leaves segments."""
    return SEGMENT.changes[0].topic(settings.topics)


def run_ingest(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then accept no more, answer what is in flight, and return.

    Blocks. Events that are not acknowledged within the delivery timeout are answered `retry`.

    Raises:
        Misconfigured: a port is taken, or a topic differs from its declaration.
        Unavailable: the broker does not answer at the start, or the producer fails for good.
    """
    ensure_topics(
        settings.cluster,
        [
            settings.topics.inbox,
            settings.topics.definitions,
            settings.topics.schemas,
            segments_topic(settings),
        ],
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )
    with closing(open_registry(settings)) as registry:
        schema_id = registry.register(f"{settings.topics.inbox.name}-value", load("event"))
    return_memory_when_idle()
    listener = listen(settings.host, settings.port(INGEST_PORT), "ingest service")
    with listener, _signals_consumed():
        grpc_port = settings.port(GRPC_PORT)
        IngestServer(settings, listener, schema_id, grpc_port=grpc_port).run()


class IngestServer:
    """The service on a socket that already listens, so that clients may connect before it runs.

    Serves gRPC on `grpc_port` once it runs, or not at all without one.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        schema_id: int,
        limits: Limits | None = None,
        *,
        grpc_port: int | None = None,
    ) -> None:
        limits = limits or read_limits(settings)
        app = IngestApp(
            settings.cluster,
            settings.topics.inbox.name,
            settings.topics.definitions.name,
            SegmentSource(
                settings.cluster,
                segments_topic(settings).name,
                partial(open_registry, settings, timeout_s=_REGISTRY_TIMEOUT_S),
            ),
            schema_id,
            limits,
            grpc_address=grpc_address(settings.host, grpc_port) if grpc_port else "",
            on_fatal=self._fail,
            access_log=AccessLog(settings.access_log),
        )
        self._failure: AvilaError | None = None
        self._listener = listener
        self._server = _Server(
            app.drain,
            uvicorn.Config(
                app,
                loop="uvloop",
                http=connection_class(limits.max_head_bytes, limits.read_timeout_s),
                ws=Protocol,
                ws_max_size=limits.max_socket_message_bytes,
                ws_per_message_deflate=False,
                # Pongs are not read while a stream is paused, so `max_idle_s` and `write_timeout_s`
                # end a connection instead. Pings keep connections open through proxies.
                ws_ping_timeout=None,
                lifespan="on",
                # A client's address is the socket's. Behind trusted proxies it is the last address
                # in `X-Forwarded-For` that is not one of theirs.
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                server_header=False,
                access_log=False,
                log_config=None,
                timeout_keep_alive=limits.keep_alive_s,
                timeout_graceful_shutdown=limits.delivery_timeout_ms // 1_000 + 5,
            ),
        )

    def run(self) -> None:
        """Serve until `stop`, or a signal if this is the main thread.

        Raises:
            Misconfigured: the port of gRPC is taken.
            Unavailable: the producer can deliver no more events.
        """
        _tune_garbage_collection()
        host, port = self._listener.getsockname()[:2]
        _log.info("ingest_started", address=f"http://{host}:{port}")
        self._server.run(sockets=[self._listener])
        _log.info("ingest_stopped")
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Make `run` drain and return. Safe from any thread, and more than once."""
        self._server.should_exit = True

    def _fail(self, failure: AvilaError) -> None:
        _log.error("ingest_failed", reason=str(failure))
        self._failure = failure
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn's server, which drains WebSockets instead of closing them at once."""

    def __init__(self, drain: Callable[[], Awaitable[None]], config: uvicorn.Config) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, drain the WebSockets, then shut down as uvicorn does."""
        for server in self.servers:
            server.close()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._drain()
        except TimeoutError:
            _log.warning("websockets_not_drained")
        await super().shutdown(sockets)


def _tune_garbage_collection() -> None:
    """Exempt what is loaded from collection, and collect rarely: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


@contextmanager
def _signals_consumed() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after it has shut down because of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, lambda *_: None) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
