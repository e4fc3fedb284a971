"""The sink's metrics for Prometheus, whose names are public."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one delivery, in a registry of their own; their names begin with `name`."""

    def __init__(self, name: str = "avila_sink") -> None:
        self._registry = CollectorRegistry()
        self._rows = Counter(f"{name}_rows_total", "Rows written.", registry=self._registry)
        self._chunks = Counter(
            f"{name}_chunks_total",
            "Chunks delivered: fresh, or replayed after a crash or a rebalance.",
            ["kind"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{name}_write_seconds",
            "Duration of the write of a batch.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._retries = Counter(
            f"{name}_retries_total",
            "Failed writes (repeated).",
            registry=self._registry,
        )
        self._rejected = Counter(
            f"{name}_rejected_total",
            "Records that cannot be decoded, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._skipped = Counter(
            f"{name}_skipped_offsets_total",
            "Offsets of the topic that were deleted before they were read.",
            registry=self._registry,
        )
        self._lag = Gauge(
            f"{name}_lag_offsets",
            "Offsets of the topic not delivered yet, by partition.",
            ["partition"],
            registry=self._registry,
        )

    def wrote(self, rows: int, seconds: float) -> None:
        """Count a batch that was written."""
        self._rows.inc(rows)
        self._seconds.observe(seconds)

    def delivered(self, replayed: Iterable[bool]) -> None:
        """Count chunks whose end is committed."""
        for again in replayed:
            self._chunks.labels("replayed" if again else "fresh").inc()

    def retried(self) -> None:
        """Count a write that failed and is repeated."""
        self._retries.inc()

    def rejected(self, reason: str) -> None:
        """Count a record that cannot be decoded."""
        self._rejected.labels(reason).inc()

    def skipped(self, offsets: int) -> None:
        """Count offsets that were deleted before they were read."""
        self._skipped.inc(offsets)

    def behind(self, lags: Mapping[int, int]) -> None:
        """Set the lag of each owned partition."""
        self._lag.clear()
        for partition, lag in lags.items():
            self._lag.labels(str(partition)).set(lag)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
