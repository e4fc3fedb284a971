"""A sink that keeps its rows in memory: for tests, and as the shortest example of a sink."""

import threading

import pyarrow as pa

from sinks.base import Batch
from sinks.rows import ROWS


class MemorySink:
    """Keeps each batch once. Several deliveries can share it."""

    def __init__(self) -> None:
        self._batches: dict[str, pa.RecordBatch] = {}
        self._lock = threading.Lock()

    def setup(self) -> None:
        """Do nothing."""

    def write(self, batch: Batch) -> None:
        """Keep the rows, unless it has the batch already."""
        with self._lock:
            self._batches.setdefault(batch.name, batch.rows)

    def close(self) -> None:
        """Do nothing; the rows are kept."""

    @property
    def rows(self) -> pa.Table:
        """All rows so far, in the order of their batches."""
        with self._lock:
            return pa.Table.from_batches(list(self._batches.values()), ROWS)
