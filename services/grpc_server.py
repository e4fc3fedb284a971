"""Serve gRPC in an event loop, with health and reflection; shared by both services."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from schemas.errors import Misconfigured

# `Any`, because handlers of all message types are registered alike. In quotes, because the class is
# generic only for type checkers.
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Methods: TypeAlias = "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"

_READY_EVERY_S: Final = 2.0
# Lets the statuses of ended calls be sent. Watchers of the health are cut off after it.
_STATUS_GRACE_S: Final = 1.0
_OPTIONS: Final = (
    # Refuse a second process on the port instead of sharing the calls with it.
    ("grpc.so_reuseport", 0),
    # Notice peers that have vanished, and close connections without calls.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
    # Let clients send keep-alive pings of their own, at most this often.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

_log = structlog.get_logger()


async def _no_drain() -> None:
    """Drain a service without streams: nothing to do."""


@asynccontextmanager
async def serving(
    address: str,
    service: str,
    methods: Methods,
    is_ready: Callable[[], Awaitable[bool]],
    *,
    options: Sequence[tuple[str, int]],
    grace_s: float,
    drain: Callable[[], Awaitable[None]] = _no_drain,
) -> AsyncIterator[None]:
    """Serve `methods` on `address` for the duration of the block; leaving it waits for open calls.

    They have `grace_s` seconds to end; the wait ends sooner if `drain` returns.

    Raises:
        Misconfigured: another process listens there, or the address is not this machine's.
    """
    server = grpc.aio.server(options=[*_OPTIONS, *options])
    handlers = grpc.method_handlers_generic_handler(service, dict(methods))
    server.add_generic_rpc_handlers([handlers])
    servicer = health.aio.HealthServicer()
    await _set_health(servicer, service, ready=False)
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
    health_updates = asyncio.create_task(_update_health(is_ready, servicer, service))
    try:
        yield
    finally:
        health_updates.cancel()
        await servicer.enter_graceful_shutdown()
        stopping = asyncio.create_task(server.stop(grace_s))
        await drain()
        await server.stop(_STATUS_GRACE_S)
        await stopping


async def _update_health(
    is_ready: Callable[[], Awaitable[bool]], servicer: health.aio.HealthServicer, service: str
) -> None:
    """Report the health that `/readyz` reports, at most `_READY_EVERY_S` late."""
    while True:
        await _set_health(servicer, service, ready=await is_ready())
        await asyncio.sleep(_READY_EVERY_S)


async def _set_health(servicer: health.aio.HealthServicer, service: str, *, ready: bool) -> None:
    statuses = health_pb2.HealthCheckResponse
    for name in ("", service):
        await servicer.set(name, statuses.SERVING if ready else statuses.NOT_SERVING)
