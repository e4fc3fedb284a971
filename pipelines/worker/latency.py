"""The way of an event through a worker, stage by stage, as a histogram for Prometheus.

Of each topic that an epoch reads, the oldest record is followed:

    written ─ read ─▶ fetched ─ process ─▶ processed ─ wait ─▶ commit begins ─ commit ─▶ committed

The event store's records are written by the Tracker's epochs, so their `read` includes the `wait`
and the `commit` of the inbox. From the inbox to a result it takes `read` and `process` of the inbox
and all four stages of the event store.
"""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from prometheus_client import Histogram

from pipelines.kafka.records import Records

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 30)

LATENCY: Final = Histogram(
    "avila_worker_latency_seconds",
    "How long the oldest record of an epoch took, by topic and stage.",
    ["topic", "stage"],
    buckets=_BUCKETS_S,
)


class _Processed(NamedTuple):
    topic: str
    at: float


class LatencyTrace:
    """Follows one record a topic and epoch; call the methods in the order of the stages."""

    def __init__(self) -> None:
        self._fetched: list[str] = []
        self._fetched_at = 0.0
        self._processed: list[_Processed] = []
        self._committing: list[str] = []

    def fetched(self, epoch: Sequence[Records]) -> None:
        """Note the records of an epoch that begins."""
        oldest: dict[str, int] = {}
        for records in epoch:
            topic, written = records.source.topic, int(records.timestamps[0])
            oldest[topic] = min(written, oldest.get(topic, written))
        now_ms = time.time_ns() / 1_000_000
        for topic, written in oldest.items():
            # Clocks of two machines may differ; a record has no time in the future.
            LATENCY.labels(topic, "read").observe(max(0.0, now_ms - written) / 1_000)
        self._fetched, self._fetched_at = list(oldest), time.monotonic()

    def processed(self) -> None:
        """Note that all records of the epoch are processed."""
        now = time.monotonic()
        for topic in self._fetched:
            LATENCY.labels(topic, "process").observe(now - self._fetched_at)
            self._processed.append(_Processed(topic, now))
        self._fetched = []

    def commit_begun(self) -> None:
        """Note that a commit of all epochs begins; the last one is processed by now."""
        self.processed()
        now = time.monotonic()
        for topic, at in self._processed:
            LATENCY.labels(topic, "wait").observe(now - at)
        self._committing = list(dict.fromkeys(topic for topic, _ in self._processed))
        self._processed = []

    def committed(self, seconds: float) -> None:
        """Note that the commit is through, `seconds` after it began."""
        for topic in self._committing:
            LATENCY.labels(topic, "commit").observe(seconds)
        self._committing = []

    def discard(self) -> None:
        """Forget what is not committed: it is processed again."""
        self._fetched, self._processed, self._committing = [], [], []
