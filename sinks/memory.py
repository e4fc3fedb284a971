"""A sink that keeps its rows in memory: for tests, and as the shortest example of a sink."""

import threading
from typing import Final

import pyarrow as pa

from sinks.base import Batch, Row
from sinks.rows import ROWS


class MemorySink:
    """Keeps each batch once. Several deliveries can share it."""

    repeatable: Final = False

    def __init__(self) -> None:
        self._batches: dict[str, pa.RecordBatch] = {}
        self._lock = threading.Lock()

    def setup(self) -> None:
        """Do nothing."""

    def write(self, batch: Batch) -> None:
        """Keep the rows, unless it has the batch already."""
        with self._lock:
            self._batches.setdefault(batch.name, batch.rows)

    def stored(self, partition: int, count: int) -> dict[int, Row]:
        """Return the rows of a partition with the highest offsets, by offset."""
        own = (row for row in self.rows.to_pylist() if row["_partition"] == partition)
        found = {
            row["_offset"]: Row(row["project_id"], row["distinct_id"], row["event"]) for row in own
        }
        return dict(sorted(found.items())[-count:])

    def derive(self, partition: int, first: int, last: int) -> None:
        """Do nothing."""

    def reopened(self) -> "MemorySink":
        """Return this sink, which any thread may use."""
        return self

    def close(self) -> None:
        """Do nothing; the rows are kept."""

    @property
    def rows(self) -> pa.Table:
        """All rows so far, in the order of their batches."""
        with self._lock:
            return pa.Table.from_batches(list(self._batches.values()), ROWS)
