"""What a worker tells Prometheus, at `/metrics` on its port. The names are public.

No stage contains another, but for `restore`, which also folds events again: the seconds of all
stages but `idle` and `restore` are the time in which the worker was at work.
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
    "avila_worker_failures", "Transactions given up: the worker started over from the last one."
)
LATE: Final = Counter(
    "avila_worker_late_events", "Events later than the lateness, by kind of definition.", ["kind"]
)
PARTITIONS: Final = Gauge("avila_worker_partitions", "Partitions restored and being read.")
ROWS: Final = Gauge("avila_worker_table_rows", "Rows in memory, by table.", ["table"])
BYTES: Final = Gauge("avila_worker_table_bytes", "Memory they take, by table.", ["table"])


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the block's time as the stage's."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        SECONDS.labels(name).inc(time.perf_counter() - begun)


def serve(settings: Settings) -> None:
    """Answer scrapes, from a thread of its own, until the process ends.

    Where another worker on this machine has the port, that one is scraped and this one is not.
    """
    address = settings.host, settings.port(WORKER_PORT)
    try:
        start_http_server(address[1], address[0])
    except OSError as error:
        log.warning("metrics are not served", address=address, reason=error.strerror)
