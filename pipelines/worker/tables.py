"""Tables: the state that a worker keeps in memory, a partition at a time.

A table is a fold of its source topic, so the source is its log. Its changelog and its snapshots
only shorten a restore: the table loads the newest rows that were written, then folds the source
again from there up to the committed offset, without output. That is exact, because a fold of the
same records gives the same state. It is also why an epoch need not log every row that it changes.
"""

import abc
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from faust.exceptions import ImproperlyConfigured
from faust.tables.manager import TableManager as FaustTableManager
from faust.types import AppT

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.kafka.topic_limits import TopicLimits
from pipelines.worker import telemetry
from pipelines.worker.app import settings_of
from pipelines.worker.positions import MissingOffsets, PositionLog, decide_missing_offset
from pipelines.worker.restore_progress import progress_of
from pipelines.worker.snapshots import Snapshots
from schemas.cluster import Address

T = TypeVar("T")
Passed: TypeAlias = Any  # what Faust passes to its own class


class Table(abc.ABC):
    """State by partition. Called from one thread at a time: see `pipelines.worker.epochs`."""

    name: str
    help: str
    source: str
    outputs: tuple[str, ...] = ()  # the topics that are written from the source
    _snapshots: Snapshots

    def bind(self, log_id: str) -> None:
        """Say which log the table folds from now on: snapshots of another one are ignored."""
        self._snapshots.log_id = log_id

    @property
    @abc.abstractmethod
    def rows(self) -> int:
        """The number of rows."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """The memory that they take in bytes, spare room included."""

    @abc.abstractmethod
    def restore(self, partition: int, committed: int, reader: Reader) -> Iterator[None]:
        """Restore the partition as of source offset `committed`, in steps."""

    @abc.abstractmethod
    def drop(self, partition: int) -> None:
        """Drop the partition, in memory only."""

    @abc.abstractmethod
    def flush(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Do what is due by time, and log what must be logged, before an epoch commits.

        `positions` are the source offsets of the commit, by partition. Records that are sent to the
        outbox join the transaction.
        """

    def note_committed(  # noqa: B027 (most tables need not know it)
        self, committed: Mapping[TopicPartition, int]
    ) -> None:
        """Note the source offsets of the last commit, of all tables of this worker."""

    @abc.abstractmethod
    def snapshot(self, positions: Mapping[int, int], reader: Reader) -> None:
        """Begin to write the state to disk; it is what is committed at `positions`."""

    @property
    def backfilling(self) -> bool:
        """Whether a part of the table has yet to catch up with history."""
        return False

    @property
    def live_per_past(self) -> float:
        """How long live events are processed, if they wait, per time that `catch_up` takes."""
        return 0.0

    def catch_up(self) -> None:
        """Backfill one batch of past events; what it emits is in the outbox."""
        assert not self.backfilling, "a table that backfills overrides this"


class TableManager(FaustTableManager):
    """The app's tables, for Faust and for the epochs (`pipelines.worker.state.State`)."""

    def __init__(self, app: AppT, **kwargs: Passed) -> None:
        super().__init__(app, **kwargs)
        self.snapshot_interval_s = 300
        self.positions_topic = ""  # where positions are logged; nowhere without a name
        self.missing_offsets: MissingOffsets = "refuse"
        self._snapshot_at = time.monotonic()
        self._committed: dict[TopicPartition, int] = {}

    def add(self, table: T) -> T:
        """Register a table.

        Raises:
            ImproperlyConfigured: it is one of Faust's own.
        """
        if not isinstance(table, Table):
            raise ImproperlyConfigured(
                f"table {table!r} is not kept by the columnar transport: "
                "derive it from pipelines.worker.tables.Table"
            )
        self[table.name] = table  # type: ignore[assignment] # Faust expects its own tables
        telemetry.ROWS.labels(table.name).set_function(lambda: table.rows)
        telemetry.BYTES.labels(table.name).set_function(lambda: table.nbytes)
        return table

    # ── for the epochs, on the Kafka thread ──────────────────────────────────────────────────────

    def missing_offset(self, source: TopicPartition) -> int:
        """Decide where to continue in a partition without a committed offset."""
        outputs = [output for table in self._tables(source.topic) for output in table.outputs]
        return decide_missing_offset(
            self._reader, self._positions, source, outputs, self.missing_offsets
        )

    def restore(self, source: TopicPartition, committed: int) -> Iterator[None]:
        """Restore the tables of the source partition, in steps."""
        reader = self._reader
        with progress_of(f"{source.topic}/{source.partition}") as show:
            log_id = reader.log_id(source.topic)
            self._positions.open(source, log_id)
            for table in self._tables(source.topic):
                table.bind(log_id)
                for step in table.restore(source.partition, committed, reader):
                    show(table.name, reader.share)
                    yield step

    def drop(self, source: TopicPartition) -> None:
        """Drop the tables of the source partition, in memory only."""
        self._positions.drop(source)
        self._committed.pop(source, None)
        for table in self._tables(source.topic):
            table.drop(source.partition)

    def flush(self, positions: Mapping[TopicPartition, int]) -> None:
        """Flush every table before a commit; the one before is through."""
        now = _now_ms()
        for table in self.values():
            table.note_committed(self._committed)
            table.flush(_of_topic(positions, table.source), now)
        self._positions.write(positions, self.outbox)
        self._committed = dict(positions)

    @property
    def backfilling(self) -> bool:
        """Whether a part of a table has yet to catch up with history."""
        return any(table.backfilling for table in self.values())

    @property
    def live_per_past(self) -> float:
        """How long live events are processed, if they wait, per time that `catch_up` takes."""
        return max((table.live_per_past for table in self.values()), default=0.0)

    def catch_up(self) -> None:
        """Backfill one batch of past events in each table that is backfilling."""
        for table in self.values():
            table.catch_up()

    @property
    def snapshot_due(self) -> bool:
        """Whether the snapshot interval has passed."""
        return time.monotonic() - self._snapshot_at >= self.snapshot_interval_s

    def snapshot(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin to write a snapshot of every table."""
        self._snapshot_at = time.monotonic()
        for table in self.values():
            table.snapshot(_of_topic(positions, table.source), self._reader)

    @functools.cached_property
    def outbox(self) -> Outbox:
        """What the epochs write."""
        return Outbox(TopicLimits(self._cluster))

    @functools.cached_property
    def _reader(self) -> Reader:
        return Reader(self._cluster)

    @functools.cached_property
    def _positions(self) -> PositionLog:
        return PositionLog(self._reader, self.app.conf.id, self.positions_topic)

    @property
    def _cluster(self) -> Address:
        return settings_of(self.app).cluster

    def _tables(self, topic: str) -> list[Table]:
        return [table for table in self.values() if table.source == topic]

    # ── for Faust ────────────────────────────────────────────────────────────────────────────────

    async def on_start(self) -> None:
        """Report ready: tables read their changelogs themselves."""
        self._tables_finalized.set()
        self._tables_registered.set()

    async def on_stop(self) -> None:
        """Do nothing: the consumer has committed."""

    def on_partitions_revoked(self, revoked: object) -> None:
        """Do nothing: the epochs drop revoked partitions before Faust is told."""

    async def on_rebalance(self, *_: object, **__: object) -> None:
        """Report that recovery has begun: the consumer restores new partitions."""
        self._recovery_started.set()

    async def wait_until_recovery_completed(self) -> bool:
        """Return at once: a rebalance includes the restore."""
        return False


def tables_of(app: AppT) -> TableManager:
    """Return the tables of an app.

    Raises:
        ImproperlyConfigured: the app has another table manager.
    """
    tables = app.tables
    if not isinstance(tables, TableManager):
        raise ImproperlyConfigured(
            "the columnar transport needs an app with "
            "TableManager='pipelines.worker.tables:TableManager'"
        )
    return tables


def _of_topic(positions: Mapping[TopicPartition, int], topic: str) -> dict[int, int]:
    return {source.partition: at for source, at in positions.items() if source.topic == topic}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
