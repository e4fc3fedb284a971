"""A sink that keeps its rows in memory: for tests, and the shortest way to read the contract."""

import threading

import pyarrow as pa

from sinks.base import Batch
from sinks.rows import ROWS


class MemorySink:
    """Keeps what it was given, each batch once. May be shared by several deliveries."""

    def __init__(self) -> None:
        self._batches: dict[str, pa.RecordBatch] = {}
        self._lock = threading.Lock()

    def setup(self) -> None:
        """Nothing is needed."""

    def write(self, batch: Batch) -> None:
        """Keep the rows, unless this batch is known."""
        with self._lock:
            self._batches.setdefault(batch.name, batch.rows)

    def close(self) -> None:
        """Nothing is held; the rows stay."""

    @property
    def rows(self) -> pa.Table:
        """All rows so far, in the order in which they came."""
        with self._lock:
            return pa.Table.from_batches(list(self._batches.values()), ROWS)
