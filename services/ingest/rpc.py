"""The gRPC server: `avila.v1` with health and reflection, in the event loop of the HTTP doors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from schemas.avila_pb2 import DESCRIPTOR
from schemas.errors import Misconfigured
from services.ingest.calls import Calls
from services.ingest.limits import Limits

SERVICE: Final = DESCRIPTOR.services_by_name["Ingest"].full_name

_READY_EVERY_S: Final = 2.0
# For the statuses of calls that have ended; whoever only watches the health is cut off after it.
_LAST_WORDS_S: Final = 1.0

_log = structlog.get_logger()


@asynccontextmanager
async def serving(
    address: str, calls: Calls, limits: Limits, is_ready: Callable[[], Awaitable[bool]]
) -> AsyncIterator[None]:
    """Serve `calls` on `address` inside the block; its end waits for those that are open.

    Raises:
        Misconfigured: something else listens there, or the address is not this machine's.
    """
    server = grpc.aio.server(options=_options(limits))
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Track": grpc.stream_unary_rpc_method_handler(calls.track),
        "TrackStream": grpc.stream_stream_rpc_method_handler(calls.track_stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    servicer = health.aio.HealthServicer()
    await _say(servicer, ready=False)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise Misconfigured(
            f"gRPC cannot listen on {address}: set AVILA_PORT_BASE or AVILA_HOST"
        ) from error
    await server.start()
    _log.info("grpc_started", address=address)
    following = asyncio.create_task(_follow(is_ready, servicer))
    try:
        yield
    finally:
        following.cancel()
        await servicer.enter_graceful_shutdown()
        grace_s = limits.delivery_timeout_ms / 1_000 + 5
        stopping = asyncio.create_task(server.stop(grace_s))
        await calls.drain()
        await server.stop(_LAST_WORDS_S)
        await stopping


async def _follow(
    is_ready: Callable[[], Awaitable[bool]], servicer: health.aio.HealthServicer
) -> None:
    """Keep the health at what `/readyz` says, some seconds late."""
    while True:
        await _say(servicer, ready=await is_ready())
        await asyncio.sleep(_READY_EVERY_S)


async def _say(servicer: health.aio.HealthServicer, *, ready: bool) -> None:
    statuses = health_pb2.HealthCheckResponse
    for name in ("", SERVICE):
        await servicer.set(name, statuses.SERVING if ready else statuses.NOT_SERVING)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_concurrent_streams", limits.max_calls),
        # A second process on the port is an error, not a share of the calls.
        ("grpc.so_reuseport", 0),
        # A peer that has vanished is noticed; connections without a call are closed.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_connection_idle_ms", 300_000),
        # Clients may make sure of the connection themselves, this often.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
