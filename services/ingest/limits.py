"""Every limit of the edge, stated once; each error that a limit causes names it and its value."""

import msgspec

from schemas.errors import InvalidRequest
from schemas.settings import Settings

_MIB = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request and one event may be, and how much the process holds at once."""

    # One request; its head and its body have the same time each.
    max_head_bytes: int = 65_536
    max_compressed_bytes: int = 4 * _MIB
    max_body_bytes: int = 10 * _MIB
    max_compression_ratio: int = 250
    max_events: int = 10_000
    read_timeout_s: float = 30

    # gRPC. It holds messages that are not whole yet itself: as many as there are calls, at worst.
    max_message_bytes: int = 4 * _MIB
    max_calls: int = 512

    # WebSocket. Many small senders, such as pages: uvicorn holds what is not whole yet, in the same
    # way. Nothing is compressed. A message, or the reading of an answer, is waited for so long.
    max_socket_message_bytes: int = _MIB
    max_sockets: int = 2_048
    max_idle_s: float = 300
    write_timeout_s: float = 30

    # Of a gRPC stream or a WebSocket, that wait for the broker together
    max_stream_batches: int = 64

    # One event
    max_event_bytes: int = 262_144
    max_properties: int = 1_000
    max_depth: int = 32
    max_name_chars: int = 200
    max_id_chars: int = 200
    max_event_id_chars: int = 100

    # The process: beyond these, requests are told to come back later.
    max_unacknowledged_events: int = 200_000
    max_held_bytes: int = 256 * _MIB
    retry_after_s: float = 1
    delivery_timeout_ms: int = 10_000


class TooLarge(InvalidRequest):
    """Send less at once: the request, or one event of it, exceeds the limit called `limit`."""

    code = "too_large"

    def __init__(self, what: str, limit: str, value: int, field: str = "") -> None:
        super().__init__(f"{what}; accepted are {value} ({limit})", field)
        self.limit = limit


def read_limits(settings: Settings) -> Limits:
    """The limits of a deployment."""
    return Limits(max_event_bytes=settings.max_event_bytes)
