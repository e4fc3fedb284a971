"""The gRPC server of the ingest service: `avila.v1.Ingest`, in the event loop of the HTTP doors."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import grpc

from schemas.avila_pb2 import DESCRIPTOR
from services import grpc_server
from services.ingest.grpc_service import Calls
from services.ingest.limits import Limits

SERVICE: Final = DESCRIPTOR.services_by_name["Ingest"].full_name


def serving(
    address: str, calls: Calls, limits: Limits, is_ready: Callable[[], Awaitable[bool]]
) -> AbstractAsyncContextManager[None]:
    """Serve `calls` on `address` inside the block; its end waits for those that are open.

    Entering it raises `Misconfigured` if something else listens there.
    """
    return grpc_server.serving(
        address,
        SERVICE,
        {
            "Track": grpc.stream_unary_rpc_method_handler(calls.track),
            "TrackStream": grpc.stream_stream_rpc_method_handler(calls.track_stream),
        },
        is_ready,
        options=(
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_concurrent_streams", limits.max_calls),
        ),
        grace_s=limits.delivery_timeout_ms / 1_000 + 5,
        drain=calls.drain,
    )
