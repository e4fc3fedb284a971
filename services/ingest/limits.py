"""All limits of the ingest service. An error that a limit causes names the limit and its value."""

import msgspec

from schemas.errors import InvalidRequest
from schemas.settings import Settings

_MIB = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one request, of one event, and of what the process holds at once."""

    # One request. Its head and its body may each take `read_timeout_s`.
    max_head_bytes: int = 65_536
    max_compressed_bytes: int = 4 * _MIB
    max_body_bytes: int = 10 * _MIB
    max_compression_ratio: int = 250
    max_events: int = 10_000
    read_timeout_s: float = 30
    # How long a connection may stay open between two requests.
    keep_alive_s: int = 75

    # gRPC, which buffers incomplete messages itself: at most one a call. `max_calls` counts calls
    # whose messages are being received, and which have shown a valid key.
    max_message_bytes: int = 4 * _MIB
    max_calls: int = 512

    # WebSocket, for many small senders such as pages. uvicorn buffers incomplete messages, at most
    # one a connection. Messages are not compressed. `max_idle_s` bounds the wait for a message and
    # `write_timeout_s` the wait for the peer to read an answer. `max_sockets` counts connections
    # that have shown a valid key. The others have `key_timeout_s` to show one; beyond
    # `max_strangers` of them the oldest is closed.
    max_socket_message_bytes: int = _MIB
    max_sockets: int = 2_048
    max_strangers: int = 256
    key_timeout_s: float = 10
    max_idle_s: float = 300
    write_timeout_s: float = 30

    # Batches of one gRPC stream or WebSocket that may wait for the broker at once.
    max_stream_batches: int = 64

    # One event
    max_event_bytes: int = 262_144
    max_properties: int = 1_000
    max_depth: int = 32
    max_name_chars: int = 200
    max_id_chars: int = 200
    max_event_id_chars: int = 100
    # Times that the Tracker would reject, or nobody can mean. The last two are no limits: a clock
    # that is off by more is corrected, and duplicates are dropped for that long.
    max_event_age_days: int = 730
    max_future_skew_s: int = 300
    clock_tolerance_s: int = 60
    dedup_window_s: int = 86_400

    # The process. Beyond these, requests are answered with 503 and `Retry-After`.
    max_unacknowledged_events: int = 200_000
    max_held_bytes: int = 256 * _MIB
    retry_after_s: float = 1
    delivery_timeout_ms: int = 10_000


class TooLarge(InvalidRequest):
    """Send less at once: the request, or one event in it, exceeds the limit named `limit`."""

    code = "too_large"

    def __init__(self, what: str, limit: str, value: int, field: str = "") -> None:
        super().__init__(f"{what}; the limit is {value} ({limit})", field)
        self.limit = limit


def read_limits(settings: Settings) -> Limits:
    """Return the limits of a deployment."""
    return Limits(
        max_event_bytes=settings.max_event_bytes,
        max_event_age_days=settings.max_event_age_days,
        max_future_skew_s=settings.max_future_skew_s,
        clock_tolerance_s=settings.clock_tolerance_s,
        dedup_window_s=settings.dedup_window_s,
    )
