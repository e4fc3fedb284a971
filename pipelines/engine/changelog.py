"""The log of the persons' rows: how a partition is written down, and how it is restored.

Restored is, in this order: the local snapshot, if there is a good one; what the log holds beyond
it; and then the events that the log may not have are folded again, each row leaving out those that
it holds already.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.operator import Backfill, Key
from pipelines.engine.partition import OffsetRange, Partition
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Column, Outbox, TopicPartition
from pipelines.worker.snapshots import Meta, Snapshot, Snapshots

K = TypeVar("K", bytes, bytes | None)

_META_KEY: Final = b"\0meta"
_TOMBSTONES_BATCH: Final = 20_000
# Of a person who is in the log many times, the newest record among so many persons' is unpacked,
# and of those some at a time: the broker is to hear of the worker meanwhile.
_PERSONS_BATCH: Final = 200_000
_UNPACKED_BATCH: Final = 20_000


class BackfillMeta(msgspec.Struct, frozen=True, rename={"recovery_offset": "redo_from"}):
    """A definition that is not live yet: as `Backfill`, and from where on to fold again."""

    recovery_offset: int
    at: int
    ahead: int


class LogMeta(msgspec.Struct, frozen=True, rename={"recovery_offset": "redo_from"}):
    """What a partition's log says of itself.

    `recovery_offset`: events from this offset on may not be in the logged rows of the definitions
    that are `live`. `backfills`: the others. `ahead`: the clocks of the projects. `clocks`: those
    of the definitions that have one of their own.
    """

    recovery_offset: int
    live: list[str]
    backfills: dict[str, BackfillMeta]
    ahead: dict[str, int]
    clocks: dict[str, int] = {}

    def unlogged(self, name: str, position: int) -> OffsetRange | None:
        """The events that the log may lack of a definition; None if it knows nothing of it.

        `position` is where the partition stood.
        """
        if name in self.live:
            return OffsetRange(self.recovery_offset, position)
        backfill = self.backfills.get(name)
        return OffsetRange(backfill.recovery_offset, backfill.at) if backfill else None


class Recovery(NamedTuple):
    """The events to fold again: into the definitions that are live, and into the others.

    `clocks` are what is to be told when they are (`Partition.restored`).
    """

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
        self._position = 0  # of the partition, as of then
        # The keys of persons whose definitions have all ended.
        self._dead: dict[bytes, None] = {}

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def write(self, partition: Partition, now_ms: int) -> None:
        """Log what is due, and what the log then says of itself, if it says anything new."""
        wrote = False
        for keys, values in partition.due(now_ms):
            self._send(keys, values)
            for key in keys.to_pylist() if self._dead else ():
                self._dead.pop(key, None)  # another definition knows them by now
            wrote = True
        meta = _meta_of(partition)  # by now, rows that were due do not count as waiting any more
        news = self._meta is None or (self._meta.live, self._meta.backfills) != (
            meta.live,
            meta.backfills,
        )
        # Events that are folded again have to find their clocks as they were.
        if wrote or news or partition.position != self._position:
            self._meta, self._position = meta, partition.position
            self._send([_META_KEY], [msgspec.json.encode(meta)])
        if self._dead:
            batch = list(itertools.islice(self._dead, _TOMBSTONES_BATCH))
            for key in batch:
                del self._dead[key]
            self._send(batch, [None] * len(batch))

    def tombstone(self, partition: Partition, key: Key) -> None:
        """Delete, little by little, the persons who are of no other definition than one that ends.

        What the others' records still hold of it goes when they are written next.
        """
        self._dead |= dict.fromkeys(partition.only_in(key))

    def snapshot(self, partition: Partition, reader: Reader) -> None:
        """Begin to write a snapshot of what is committed now."""
        _, logged = reader.bounds(self._source)
        assert self._meta is not None, "what is committed has been logged"
        about = msgspec.to_builtins(_About(list(partition.instances), _meta_of(partition)))
        meta = Meta(position=partition.position, logged=logged, about=about)
        self._snapshots.save(self._source.partition, Snapshot(meta, partition.dump()))

    def _send(self, keys: Column | ArrowColumn, values: Column | ArrowColumn) -> None:
        self._outbox.send(self._source.topic, keys, values, partition=self._source.partition)

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(
        self, partition: Partition, committed: int, reader: Reader
    ) -> Generator[None, None, Recovery]:
        """Bring the rows of `partition`, whose definitions are in place, to what the log says.

        Returns what is to be folded again. What the log does not know of is backfilled.
        """
        logged = 0
        held: dict[Key, int] = {}  # up to where a definition's events are in the snapshot
        snapshot = self._snapshots.load(self._source.partition)
        if snapshot is not None and snapshot.meta.position <= committed:
            logged = snapshot.meta.logged
            about = msgspec.convert(snapshot.meta.about, _About)
            self._meta = about.log
            unlogged = {
                key: about.log.unlogged(key.name, snapshot.meta.position) or OffsetRange(0, 0)
                for key in about.definitions
            }
            partition.load(snapshot.columns, unlogged)
            held = {key: end for key, (_, end) in unlogged.items()}
        newest: dict[bytes | None, bytes | None] = {}
        for records in reader.read(self._source, logged):
            if records is not None:
                keep_newest(newest, records.keys, records.values)
            if len(newest) > _PERSONS_BATCH:
                yield from self._take(partition, newest)
            yield
        yield from self._take(partition, newest)
        return self._redo(partition, committed, held)

    def _take(
        self, partition: Partition, newest: dict[bytes | None, bytes | None]
    ) -> Iterator[None]:
        """Take over the newest records of some keys, some at a time, and empty `newest`."""
        newest.pop(None, None)  # nobody's: we write none such
        meta = newest.pop(_META_KEY, None)
        self._meta = msgspec.json.decode(meta, type=LogMeta) if meta else self._meta
        for key in newest if self._dead else ():
            self._dead.pop(key or b"", None)
        rows = ((key, value) for key, value in newest.items() if key and value)
        while some := dict(itertools.islice(rows, _UNPACKED_BATCH)):
            keys = list(some)
            useless = np.flatnonzero(~partition.unpack(keys, list(some.values())))
            self._dead |= dict.fromkeys(keys[place] for place in useless.tolist())
            yield
        newest.clear()

    def _redo(self, partition: Partition, committed: int, held: Mapping[Key, int]) -> Recovery:
        meta = self._meta or LogMeta(committed, [], {}, {})
        for project, ahead in meta.ahead.items():
            partition.advance_event_clock(project, ahead)
        live, past = [committed], []
        for key, one in partition.instances.items():
            unlogged = meta.unlogged(key.name, committed)
            begin = max(unlogged.begin, held.get(key, 0)) if unlogged else 0
            if key.name in meta.live:
                live.append(begin)
            else:
                backfill = meta.backfills.get(key.name)
                one.backfill = Backfill(backfill.at, backfill.ahead) if backfill else Backfill()
                past.append(OffsetRange(begin, one.backfill.at))
        return Recovery(
            OffsetRange(min(live), committed),
            OffsetRange(
                min((p.begin for p in past), default=0), max((p.end for p in past), default=0)
            ),
            {key: meta.clocks[key.name] for key in partition.instances if key.name in meta.clocks},
        )


def keep_newest(
    newest: dict[K, bytes | None], keys: Iterable[K], values: Iterable[bytes | None]
) -> None:
    """Keep the last value of each key, in the order in which those came."""
    for key, value in zip(keys, values, strict=True):
        newest.pop(key, None)
        newest[key] = value


class _About(msgspec.Struct, frozen=True):
    """What a snapshot says of itself."""

    definitions: list[Key]
    log: LogMeta


def _meta_of(partition: Partition) -> LogMeta:
    return LogMeta(
        partition.recovery_offset,
        [key.name for key, one in partition.instances.items() if one.backfill is None],
        {
            key.name: BackfillMeta(
                partition.instances[key].recovery_offset(backfill.at), backfill.at, backfill.ahead
            )
            for key, backfill in partition.backfilling.items()
        },
        dict(partition.ahead),
        {
            key.name: clock
            for key, one in partition.instances.items()
            if (clock := one.state.clock) is not None
        },
    )
