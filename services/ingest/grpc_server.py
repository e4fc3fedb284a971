"""Serve `avila.v1.Ingest` over gRPC, in the event loop that also serves HTTP."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import grpc

from schemas.avila_pb2 import DESCRIPTOR
from services import grpc_server
from services.ingest.grpc_service import IngestService
from services.ingest.limits import Limits

SERVICE: Final = DESCRIPTOR.services_by_name["Ingest"].full_name


def serving(
    address: str, service: IngestService, limits: Limits, is_ready: Callable[[], Awaitable[bool]]
) -> AbstractAsyncContextManager[None]:
    """Serve `service` on `address` for the duration of the block; leaving it waits for open calls.

    Raises:
        Misconfigured: on entry, if another process listens on the address.
    """
    return grpc_server.serving(
        address,
        SERVICE,
        {
            "Track": grpc.stream_unary_rpc_method_handler(service.track),
            "TrackStream": grpc.stream_stream_rpc_method_handler(service.track_stream),
        },
        is_ready,
        options=(
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_concurrent_streams", limits.max_calls),
        ),
        grace_s=limits.delivery_timeout_ms / 1_000 + 5,
        drain=service.drain,
    )
