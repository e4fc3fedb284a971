"""The log of the persons' rows: how a partition is written to it, and how it is restored.

A partition is restored in this order: from the local snapshot, if there is a valid one; from what
the log holds beyond it; and from the events that may be missing from the log, which are processed
again. A row leaves out those that it holds already.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import structlog

from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine import changelog_rows
from pipelines.engine.changelog_meta import LogMeta, cut_meta, is_meta_key, join_meta, meta_of
from pipelines.engine.dump import dump, load
from pipelines.engine.events import OffsetRange
from pipelines.engine.instance import Backfill
from pipelines.engine.partition import Partition
from pipelines.engine.person_record import MAX_RECORD_BYTES
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Column, Outbox, TopicPartition
from pipelines.matching.match import Key
from pipelines.worker.snapshots import Meta, Snapshot, Snapshots

log = structlog.get_logger(__name__)

K = TypeVar("K", bytes, bytes | None)

_TOMBSTONES_BATCH: Final = 20_000
# Of up to 200,000 persons, only the latest records are unpacked, and 20,000 at a time: the
# consumer group has to be polled in between. Fewer of them if they are large.
_PERSONS_BATCH: Final = 200_000
_BYTES_BATCH: Final = 512 << 20
_UNPACKED_BATCH: Final = 20_000
_UNPACKED_BYTES: Final = 64 << 20
_META_MARGIN: Final = 100  # for its key


class Recovery(NamedTuple):
    """A partition as the log has it, and the events that have to be processed again.

    `live` are those for definitions that are live, `past` those for the others. `clocks` are
    arguments of `Partition.restored`.
    """

    partition: Partition
    meta: LogMeta
    live: OffsetRange
    past: OffsetRange
    clocks: Mapping[Key, int]


class PersonChangelog:
    """Writes and restores the log of one partition."""

    def __init__(self, topic: str, number: int, snapshots: Snapshots, outbox: Outbox) -> None:
        self._source = TopicPartition(topic, number)
        self._snapshots = snapshots
        self._outbox = outbox
        self._meta: LogMeta | None = None
        self._meta_records: dict[bytes, bytes] = {}  # as they are read
        self._position = 0  # of the partition, when `_meta` was written
        self._wrote_rows = False  # since then
        # Keys to delete: of persons and rows that belong to no definition any more.
        self._obsolete: dict[bytes, None] = {}

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def write_rows(self, partition: Partition, now_ms: int) -> None:
        """Log the rows that are due at `now_ms`."""
        for keys, values in changelog_rows.pack_due(partition, now_ms, self._max_bytes):
            self._send(keys, values)
            for key in keys.to_pylist() if self._obsolete else ():
                self._obsolete.pop(key, None)  # another definition has a row of the person by now
            self._wrote_rows = True

    def write_meta(self, partition: Partition) -> None:
        """Log how far the log has come, if it has; delete a part of what is obsolete."""
        meta = meta_of(partition)
        moved = self._wrote_rows or partition.position != self._position
        # Events that are processed again must find the clocks as they were.
        if moved or not meta.same_progress(self._meta):
            self._meta, self._position, self._wrote_rows = meta, partition.position, False
            records = cut_meta(meta, self._max_bytes - _META_MARGIN)
            self._send(list(records), list(records.values()))
        if self._obsolete:
            batch = list(itertools.islice(self._obsolete, _TOMBSTONES_BATCH))
            for key in batch:
                del self._obsolete[key]
            self._send(batch, [None] * len(batch))

    def tombstone(self, partition: Partition, key: Key) -> None:
        """Delete, a part at each commit, the records that hold rows of this definition alone.

        Its rows in other records go when those are written next.
        """
        instance = partition.instances[key]
        with instance.failing_alone():
            self._obsolete |= dict.fromkeys(changelog_rows.keys_only_of(partition, key))

    def snapshot(self, partition: Partition, reader: Reader) -> None:
        """Begin to write a snapshot of the partition as it is committed now."""
        _, logged = reader.bounds(self._source)
        assert self._meta is not None, "what is committed has been logged"
        dumped = dump(partition)
        if dumped is None:
            return
        about = msgspec.to_builtins(_About(dumped.definitions, meta_of(partition)))
        meta = Meta(position=partition.position, logged=logged, about=about)
        self._snapshots.save(self._source.partition, Snapshot(meta, dumped.columns))

    @property
    def _max_bytes(self) -> int:
        """How large a record may be, key and value: less if the topic takes less."""
        return min(MAX_RECORD_BYTES, self._outbox.limit(self._source.topic))

    def _send(self, keys: Column | ArrowColumn, values: Column | ArrowColumn) -> None:
        self._outbox.send(self._source.topic, keys, values, partition=self._source.partition)

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(
        self, make: Callable[[], Partition], committed: int, reader: Reader
    ) -> Generator[None, None, Recovery]:
        """Restore the rows of a partition as of source offset `committed`, in steps.

        `make` makes one with all definitions and no rows. A definition that the log does not know
        begins with a backfill.
        """
        partition, logged, held = self._from_snapshot(make, committed)
        latest: dict[bytes | None, bytes | None] = {}
        size = 0
        for records in reader.read(self._source, logged):
            if records is not None:
                keep_latest(latest, records.keys, records.values)
                size += sum(map(len, filter(None, records.values)))
            if len(latest) > _PERSONS_BATCH or size > _BYTES_BATCH:
                yield from self._load(partition, latest)
                size = 0
            yield
        yield from self._load(partition, latest)
        try:
            self._meta = join_meta(self._meta_records) or self._meta
        except (msgspec.DecodeError, KeyError) as error:
            log.error("the log is useless", partition=self._source.partition, exc_info=error)
            # Rows that nobody knows the extent of cannot be added to: all definitions begin again.
            partition, held, self._meta = make(), {}, None
        return self._recovery(partition, committed, held)

    def _from_snapshot(
        self, make: Callable[[], Partition], committed: int
    ) -> tuple[Partition, int, Mapping[Key, int]]:
        """Load the snapshot, if there is a valid one.

        Returns the partition, the offset from which the log is read, and up to which source offset
        the snapshot holds the events of each definition.
        """
        partition = make()
        snapshot = self._snapshots.load(self._source.partition)
        if snapshot is None or snapshot.meta.position > committed:
            return partition, 0, {}
        try:
            about = msgspec.convert(snapshot.meta.about, _About)
            unlogged = {
                key: about.log.unlogged(key.name, snapshot.meta.position) or OffsetRange(0, 0)
                for key in about.definitions
            }
            load(partition, snapshot.columns, unlogged)
        except MemoryError:
            raise
        except Exception as error:
            log.warning("snapshot ignored", partition=self._source.partition, exc_info=error)
            return make(), 0, {}
        self._meta = about.log
        return partition, snapshot.meta.logged, {key: end for key, (_, end) in unlogged.items()}

    def _load(
        self, partition: Partition, latest: dict[bytes | None, bytes | None]
    ) -> Iterator[None]:
        """Load the latest records of some keys, a part at a time, and empty `latest`."""
        latest.pop(None, None)  # no record of ours is without a key
        for meta_key in [key for key in latest if key and is_meta_key(key)]:
            self._meta_records[meta_key] = latest.pop(meta_key) or b""
        for key in latest if self._obsolete else ():
            self._obsolete.pop(key or b"", None)
        for some in _batches((key, value) for key, value in latest.items() if key and value):
            keys = list(some)
            useless = np.flatnonzero(~changelog_rows.unpack(partition, keys, list(some.values())))
            self._obsolete |= dict.fromkeys(keys[place] for place in useless.tolist())
            yield
        latest.clear()

    def _recovery(self, partition: Partition, committed: int, held: Mapping[Key, int]) -> Recovery:
        meta = self._meta or LogMeta(committed, [], {}, {})
        for project, offset_ms in meta.clock_offsets.items():
            partition.advance_event_clock(project, offset_ms)
        partition.scores_position = meta.scores_position
        live, past = [committed], []
        for key, instance in partition.instances.items():
            instance.recounted_to = meta.recounted.get(key.name, 0)
            unlogged = meta.unlogged(key.name, committed)
            begin = max(unlogged.begin, held.get(key, 0)) if unlogged else 0
            if key.name in meta.live:
                live.append(begin)
            else:
                known = meta.backfills.get(key.name)
                instance.backfill = Backfill()
                if known:  # earlier versions let events move a clock ahead of the time of day
                    instance.backfill = Backfill(known.at, min(known.clock_offset, 0))
                past.append(OffsetRange(begin, instance.backfill.at))
        return Recovery(
            partition,
            meta,
            OffsetRange(min(live), committed),
            OffsetRange(
                min((p.begin for p in past), default=0), max((p.end for p in past), default=0)
            ),
            {key: meta.clocks[key.name] for key in partition.instances if key.name in meta.clocks},
        )


def keep_latest(
    latest: dict[K, bytes | None], keys: Iterable[K], values: Iterable[bytes | None]
) -> None:
    """Keep the last value of each key, in the order in which those came."""
    for key, value in zip(keys, values, strict=True):
        latest.pop(key, None)
        latest[key] = value


def _batches(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[dict[bytes, bytes]]:
    """Yield records in batches of a bounded number and size."""
    batch: dict[bytes, bytes] = {}
    size = 0
    for key, value in rows:
        batch[key] = value
        size += len(value)
        if len(batch) == _UNPACKED_BATCH or size >= _UNPACKED_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


class _About(msgspec.Struct, frozen=True):
    """What a snapshot holds: its definitions, in the order of their columns, and the log then."""

    definitions: list[Key]
    log: LogMeta
