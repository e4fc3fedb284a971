"""Tables: what a worker keeps in memory of the topics it reads, a partition at a time.

A table is a fold of its source topic, and so the source is its log. What it writes to a changelog
(or to disk) only shortens the way: restored is the newest that was written, and then the source is
folded again from there up to the committed offset, in silence. That is exact, for a fold of the
same records gives the same state; and it is why an epoch need not log every row that it touches.
"""

import abc
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from faust.exceptions import ImproperlyConfigured
from faust.tables.manager import TableManager as FaustTableManager

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.worker import telemetry as metrics
from pipelines.worker.restore_progress import told

T = TypeVar("T", bound=Any)


class Table(abc.ABC):
    """State by partition. Never called from two threads at once: see `pipelines.worker.epochs`."""

    name: str
    help: str
    source: str

    @property
    @abc.abstractmethod
    def rows(self) -> int:
        """How many rows it has."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """The memory they take, spare room included."""

    @abc.abstractmethod
    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Bring the partition to what it was when the source stood at `committed`, in steps."""

    @abc.abstractmethod
    def drop(self, partition: int) -> None:
        """Forget the partition, in memory only."""

    @abc.abstractmethod
    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """An epoch is about to commit: do what time asks for and log what must be logged.

        `positions` are the source's offsets that the commit will hold, by partition. What is sent
        to the outbox joins the transaction.
        """

    @abc.abstractmethod
    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:
        """Begin to write what is in memory to disk: it is what is committed at `positions`."""

    @property
    def backfilling(self) -> bool:
        """Whether a part of the table has yet to catch up with history."""
        return False

    def catch_up(self) -> None:
        """Backfill one batch of past events; the output is in the outbox."""
        assert not self.backfilling, "a table that backfills knows how to catch up"


class TableManager(FaustTableManager):
    """The app's tables as Faust sees them, and as the epochs do (`epochs.State`)."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.outbox = Outbox()
        self.snapshot_interval_s = 300
        self._snapshot_at = time.monotonic()

    def add(self, table: T) -> T:
        """Register a table.

        Raises:
            ImproperlyConfigured: it is one of Faust's own.
        """
        if not isinstance(table, Table):
            raise ImproperlyConfigured(
                f"table {table.name!r} is one of Faust's own, which the columnar transport does "
                "not keep: derive it from pipelines.worker.tables.Table"
            )
        self[table.name] = table  # type: ignore[assignment]
        metrics.ROWS.labels(table.name).set_function(lambda: table.rows)
        metrics.BYTES.labels(table.name).set_function(lambda: table.nbytes)
        return table

    # ── as the epochs see it: on the Kafka thread ────────────────────────────────────────────────

    def restore(self, source: TopicPartition, committed: int) -> Iterator[None]:
        """Restore what is kept of the source's partition, in steps."""
        reader = self._reader
        with told(f"{source.topic}/{source.partition}") as tell:
            for table in self._tables(source.topic):
                for step in table.restore(source.partition, committed, reader):
                    tell(table.name, reader.share)
                    yield step

    def drop(self, source: TopicPartition) -> None:
        """Forget what is kept of the source's partition."""
        for table in self._tables(source.topic):
            table.drop(source.partition)

    def flush(self, positions: Mapping[TopicPartition, int]) -> None:
        """Let every table do what is due before a commit."""
        now = _now_ms()
        for table in self.values():
            table.flush(_of_topic(positions, table.source), now)

    @property
    def backfilling(self) -> bool:
        """Whether a part of a table has yet to catch up with history."""
        return any(table.backfilling for table in self.values())

    def catch_up(self) -> None:
        """Backfill one batch of past events in each table that is behind."""
        for table in self.values():
            table.catch_up()

    @property
    def snapshot_due(self) -> bool:
        """Whether the last snapshots are old enough for new ones."""
        return time.monotonic() - self._snapshot_at >= self.snapshot_interval_s

    def snapshot(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin to write a snapshot of every table."""
        self._snapshot_at = time.monotonic()
        for table in self.values():
            table.snapshot(_of_topic(positions, table.source), self._reader)

    @functools.cached_property
    def _reader(self) -> Reader:
        transport: Any = self.app.transport
        return Reader(transport.settings.bootstrap)

    def _tables(self, topic: str) -> list[Table]:
        return [table for table in self.values() if table.source == topic]

    # ── as Faust sees it ─────────────────────────────────────────────────────────────────────────

    async def on_start(self) -> None:
        """No changelogs to subscribe to: tables read theirs themselves."""
        self._tables_finalized.set()
        self._tables_registered.set()

    async def on_stop(self) -> None:
        """Nothing is left to do: the consumer has committed."""

    def on_partitions_revoked(self, revoked: Any) -> None:
        """The epochs have dropped what was revoked before Faust hears of it."""

    async def on_rebalance(self, *_: Any, **__: Any) -> None:
        """The consumer restores what is new when Faust has been told."""
        self._recovery_started.set()

    async def wait_until_recovery_completed(self) -> bool:
        """Restoring is part of a rebalance, so that there is nothing else to wait for."""
        return False


def _of_topic(positions: Mapping[TopicPartition, int], topic: str) -> dict[int, int]:
    return {source.partition: at for source, at in positions.items() if source.topic == topic}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
