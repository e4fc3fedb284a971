"""What the ingest service tells Prometheus. The names are public: dashboards are built on them."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Fine around the 10 ms that single events and batches are promised in.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "avila_ingest_events_total",
            "Events answered, by door and result (ok, warning, drop, retry).",
            ["door", "result"],
            registry=self._registry,
        )
        self._requests = Counter(
            "avila_ingest_requests_total",
            "Requests answered, by door and HTTP or gRPC status; on a stream, each batch.",
            ["door", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "avila_ingest_request_seconds",
            "From a request's headers to its answer, which is after the broker's acknowledgement.",
            ["door"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._gone = Counter(
            "avila_ingest_clients_gone_total",
            "Clients that left before their request was whole.",
            ["door"],
            registry=self._registry,
        )

    def watch(
        self,
        unacknowledged: Callable[[], int],
        held_bytes: Callable[[], int],
        sockets: Callable[[], int],
    ) -> None:
        """Report what these return, whenever somebody asks."""
        events = Gauge(
            "avila_ingest_unacknowledged_events",
            "Events that wait for the broker's acknowledgement.",
            registry=self._registry,
        )
        events.set_function(unacknowledged)
        held = Gauge(
            "avila_ingest_held_bytes",
            "Request bodies in memory.",
            registry=self._registry,
        )
        held.set_function(held_bytes)
        connections = Gauge(
            "avila_ingest_open_sockets",
            "WebSockets that are open.",
            registry=self._registry,
        )
        connections.set_function(sockets)

    def answered(self, door: str, status: int | str, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(door, str(status)).inc()
        self._seconds.labels(door).observe(seconds)

    def taken(self, door: str, counts: Mapping[str, int]) -> None:
        """Count the events of a request, given how many had which result."""
        for name, count in counts.items():
            self._events.labels(door, name).inc(count)

    def gone(self, door: str) -> None:
        """Count a client that did not wait."""
        self._gone.labels(door).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
