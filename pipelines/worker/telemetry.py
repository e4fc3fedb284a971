"""The metrics of a worker, which Prometheus scrapes at `/metrics`. Their names are public.

Stages do not overlap, except that `restore` includes the stages of the events that it folds again.
The seconds of all stages except `idle` and `restore` are the time that the worker spent working.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, start_http_server

from schemas.settings import WORKER_PORT, Settings

log = structlog.get_logger(__name__)

SECONDS: Final = Counter("avila_worker_seconds", "Time a worker has spent, by stage.", ["stage"])
RECORDS: Final = Counter("avila_worker_records", "Records read, by topic.", ["topic"])
COMMITS: Final = Counter("avila_worker_commits", "Transactions committed.")
FAILURES: Final = Counter(
    "avila_worker_failures",
    "Transactions that failed, after each of which the worker started over.",
)
LATE: Final = Counter(
    "avila_worker_late_events",
    "Events that came too late to count, by kind of definition.",
    ["kind"],
)
DEDUP_COVERED: Final = Gauge(
    "avila_worker_dedup_covered_seconds",
    "How far back the event ids of a project are remembered, so that duplicates are dropped.",
    ["project"],
)
SKIPPED: Final = Counter(
    "avila_worker_skipped_offsets",
    "Offsets that retention deleted before a worker had read them, by topic.",
    ["topic"],
)
PARTITIONS: Final = Gauge("avila_worker_partitions", "Partitions that are restored and read.")
ROWS: Final = Gauge("avila_worker_table_rows", "Rows in memory, by table.", ["table"])
BYTES: Final = Gauge("avila_worker_table_bytes", "Memory of the rows, by table.", ["table"])


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to the stage."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        SECONDS.labels(name).inc(time.perf_counter() - begun)


def serve(settings: Settings) -> None:
    """Serve the metrics from a thread of their own, until the process ends.

    If the port is taken, by another worker on this machine, log a warning and serve none.
    """
    address = settings.host, settings.port(WORKER_PORT)
    try:
        start_http_server(address[1], address[0])
    except OSError as error:
        log.warning("metrics are not served", address=address, reason=error.strerror)
