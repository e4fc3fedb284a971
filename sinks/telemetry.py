"""What the sink tells Prometheus. The names are public: dashboards are built on them."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._rows = Counter(
            "avila_sink_rows_total", "Rows the sink has taken.", registry=self._registry
        )
        self._cuts = Counter(
            "avila_sink_cuts_total",
            "Cuts delivered: fresh ones, and those replayed after a crash or a rebalance.",
            ["kind"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "avila_sink_write_seconds",
            "Time the sink takes for one batch.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._retries = Counter(
            "avila_sink_retries_total", "Writes the sink did not take.", registry=self._registry
        )
        self._rejected = Counter(
            "avila_sink_rejected_total",
            "Records that are no events, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._lag = Gauge(
            "avila_sink_lag_offsets",
            "Offsets of the event store that are not delivered yet, by partition.",
            ["partition"],
            registry=self._registry,
        )

    def wrote(self, rows: int, seconds: float) -> None:
        """Count a batch that the sink has taken."""
        self._rows.inc(rows)
        self._seconds.observe(seconds)

    def delivered(self, replayed: Iterable[bool]) -> None:
        """Count cuts whose end is committed."""
        for again in replayed:
            self._cuts.labels("replayed" if again else "fresh").inc()

    def retried(self) -> None:
        """Count a write that failed and is repeated."""
        self._retries.inc()

    def rejected(self, reason: str) -> None:
        """Count a record that is no event."""
        self._rejected.labels(reason).inc()

    def behind(self, lags: Mapping[int, int]) -> None:
        """State the lag of each partition that is ours."""
        self._lag.clear()
        for partition, lag in lags.items():
            self._lag.labels(str(partition)).set(lag)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
