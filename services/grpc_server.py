"""A gRPC server in an event loop, with health and reflection: what both services have alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from schemas.errors import Misconfigured

# In quotes: a generic for type checkers only.
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Methods: TypeAlias = "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"

_READY_EVERY_S: Final = 2.0
# For the statuses of calls that have ended; whoever only watches the health is cut off after it.
_LAST_WORDS_S: Final = 1.0
_ALWAYS: Final = (
    # A second process on the port is an error, not a share of the calls.
    ("grpc.so_reuseport", 0),
    # A peer that has vanished is noticed; connections without a call are closed.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
    # Clients may make sure of the connection themselves, this often.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

_log = structlog.get_logger()


async def _nothing() -> None:
    """What a service without streams has to drain."""


@asynccontextmanager
async def serving(
    address: str,
    service: str,
    methods: Methods,
    is_ready: Callable[[], Awaitable[bool]],
    *,
    options: Sequence[tuple[str, int]],
    grace_s: float,
    drain: Callable[[], Awaitable[None]] = _nothing,
) -> AsyncIterator[None]:
    """Serve `methods` on `address` inside the block; its end waits for the calls that are open.

    They have `grace_s` seconds to end, and end sooner if `drain` returns.

    Raises:
        Misconfigured: something else listens there, or the address is not this machine's.
    """
    server = grpc.aio.server(options=[*_ALWAYS, *options])
    handlers = grpc.method_handlers_generic_handler(service, dict(methods))
    server.add_generic_rpc_handlers([handlers])
    servicer = health.aio.HealthServicer()
    await _say(servicer, service, ready=False)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (service, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise Misconfigured(
            f"gRPC cannot listen on {address}: set AVILA_PORT_BASE or AVILA_HOST"
        ) from error
    await server.start()
    _log.info("grpc_started", address=address)
    topic_view = asyncio.create_task(_follow(is_ready, servicer, service))
    try:
        yield
    finally:
        topic_view.cancel()
        await servicer.enter_graceful_shutdown()
        stopping = asyncio.create_task(server.stop(grace_s))
        await drain()
        await server.stop(_LAST_WORDS_S)
        await stopping


async def _follow(
    is_ready: Callable[[], Awaitable[bool]], servicer: health.aio.HealthServicer, service: str
) -> None:
    """Keep the health at what `/readyz` says, some seconds late."""
    while True:
        await _say(servicer, service, ready=await is_ready())
        await asyncio.sleep(_READY_EVERY_S)


async def _say(servicer: health.aio.HealthServicer, service: str, *, ready: bool) -> None:
    statuses = health_pb2.HealthCheckResponse
    for name in ("", service):
        await servicer.set(name, statuses.SERVING if ready else statuses.NOT_SERVING)
