"""The metrics that the ingest service exports to Prometheus. Their names and labels are public."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Fine around 10 ms, the promised latency of single events and batches.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class IngestTelemetry:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "avila_ingest_events_total",
            "Events answered, by format and result (ok, warning, drop, retry).",
            ["format", "result"],
            registry=self._registry,
        )
        self._requests = Counter(
            "avila_ingest_requests_total",
            "Requests answered, by format and HTTP or gRPC status; on a stream, each batch.",
            ["format", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "avila_ingest_request_seconds",
            "From a request's headers to its answer, which follows the broker's acknowledgement.",
            ["format"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._disconnects = Counter(
            "avila_ingest_clients_gone_total",
            "Clients that disconnected before their answer.",
            ["format"],
            registry=self._registry,
        )

    def watch(
        self,
        unacknowledged: Callable[[], int],
        held_bytes: Callable[[], int],
        sockets: Callable[[], int],
    ) -> None:
        """Export what these functions return at each scrape."""
        self._gauge(
            "avila_ingest_unacknowledged_events",
            "Events that wait for the broker's acknowledgement.",
            unacknowledged,
        )
        self._gauge("avila_ingest_held_bytes", "Bytes of request bodies in memory.", held_bytes)
        self._gauge("avila_ingest_open_sockets", "Open WebSockets.", sockets)

    def _gauge(self, name: str, help_text: str, value: Callable[[], int]) -> None:
        Gauge(name, help_text, registry=self._registry).set_function(value)

    def request_answered(self, format_name: str, status: int | str, seconds: float) -> None:
        """Count one request and observe its duration."""
        self._requests.labels(format_name, str(status)).inc()
        self._seconds.labels(format_name).observe(seconds)

    def events_answered(self, format_name: str, counts: Mapping[str, int]) -> None:
        """Count the events of one request; `counts` maps each result to its number of events."""
        for name, count in counts.items():
            self._events.labels(format_name, name).inc(count)

    def client_disconnected(self, format_name: str) -> None:
        """Count a client that disconnected before its answer."""
        self._disconnects.labels(format_name).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
