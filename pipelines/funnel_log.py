"""The log of the funnels' rows: how a partition is written down, and how it is restored.

Restored is, in this order: the local snapshot, if there is a good one; what the log holds beyond
it; and then the events from `redo_from` on are folded again, each row leaving out those that it
holds already.
"""

import itertools
from collections.abc import Generator
from typing import Final

import msgspec

from pipelines.batch import Outbox, Records, TopicPartition
from pipelines.funnel_partition import FunnelPartition, name_of
from pipelines.matching import FunnelKey
from pipelines.reader import Reader
from pipelines.snapshots import Meta, Snapshot, Snapshots

_META_KEY: Final = b"\0meta"
_TOMBSTONES_AT_ONCE: Final = 20_000


class LogMeta(msgspec.Struct, frozen=True):
    """What a partition's log says of itself.

    `redo_from`: events from this offset on may not be in the logged rows. `since`: the offset from
    which on each funnel counts. `ahead`: the clocks of the projects.
    """

    redo_from: int
    since: dict[str, int]
    ahead: dict[str, int]


class FunnelLog:
    """Writes and restores the log of one partition."""

    def __init__(self, topic: str, number: int, snapshots: Snapshots, outbox: Outbox) -> None:
        self._source = TopicPartition(topic, number)
        self._snapshots = snapshots
        self._outbox = outbox
        self._meta: LogMeta | None = None
        # The keys of persons who are only in funnels that have ended.
        self._dead: dict[bytes, None] = {}

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def write(self, partition: FunnelPartition, now_ms: int) -> None:
        """Log what is due, and what the log then says of itself, if it says anything new."""
        wrote = False
        for keys, values in partition.due(now_ms):
            self._send(keys, list(values))
            for key in keys if self._dead else ():
                self._dead.pop(key, None)  # they are in another funnel by now
            wrote = True
        meta = LogMeta(  # by now, rows that were due do not count as waiting any more
            partition.redo_from,
            {name_of(key): funnel.since for key, funnel in partition.funnels.items()},
            dict(partition.ahead),
        )
        if wrote or self._meta is None or self._meta.since != meta.since:
            self._meta = meta
            self._send([_META_KEY], [msgspec.json.encode(meta)])
        if self._dead:
            batch = list(itertools.islice(self._dead, _TOMBSTONES_AT_ONCE))
            for key in batch:
                del self._dead[key]
            self._send(batch, [None] * len(batch))

    def bury(self, partition: FunnelPartition, key: FunnelKey) -> None:
        """Delete, little by little, the persons who are in no other funnel than one that ends.

        What the others' records still hold of it goes when they are written next.
        """
        self._dead |= dict.fromkeys(partition.only_in(key))

    def snapshot(self, partition: FunnelPartition, reader: Reader) -> None:
        """Begin to write a snapshot of what is committed now."""
        _, logged = reader.bounds(self._source)
        assert self._meta is not None, "what is committed has been logged"
        about = msgspec.to_builtins(_About(list(partition.funnels), self._meta))
        meta = Meta(position=partition.position, logged=logged, about=about)
        self._snapshots.save(self._source.partition, Snapshot(meta, partition.dump()))

    def _send(self, keys: list[bytes], values: list[bytes | None]) -> None:
        self._outbox.send(self._source.topic, keys, values, partition=self._source.partition)

    # ── restoring ────────────────────────────────────────────────────────────────────────────────

    def restore(
        self, partition: FunnelPartition, committed: int, reader: Reader
    ) -> Generator[None, None, int]:
        """Bring the rows of `partition`, whose funnels are in place, to what the log says.

        Returns the event from which on to fold again. Funnels that the log does not know of count
        from `committed` on.
        """
        logged, redo_from = 0, committed
        snapshot = self._snapshots.load(self._source.partition)
        if snapshot is not None and snapshot.meta.position <= committed:
            about = msgspec.convert(snapshot.meta.about, _About)
            partition.load(
                snapshot.columns, about.funnels, snapshot.meta.position, about.log.redo_from
            )
            logged, redo_from, self._meta = snapshot.meta.logged, snapshot.meta.position, about.log
        for records in reader.read(self._source, logged):
            if records is not None:
                meta = _take(partition, records, self._dead)
                if meta is not None:
                    self._meta = meta
                    redo_from = max(meta.redo_from, snapshot.meta.position if snapshot else 0)
            yield
        since = self._meta.since if self._meta else {}
        for key, funnel in partition.funnels.items():
            funnel.since = since.get(name_of(key), committed)
        for project, ahead in (self._meta.ahead if self._meta else {}).items():
            partition.hear(project, ahead)
        return redo_from


class _About(msgspec.Struct, frozen=True):
    """What a snapshot says of itself."""

    funnels: list[FunnelKey]
    log: LogMeta


def _take(partition: FunnelPartition, records: Records, dead: dict[bytes, None]) -> LogMeta | None:
    """Take over some records of the log; returns the newest meta among them.

    `dead` is kept as the keys whose newest record holds nothing that is of use.
    """
    meta = None
    newest: dict[bytes, bytes] = {}
    for key, value in zip(records.keys, records.values, strict=True):
        if key is None:
            continue
        if key == _META_KEY:
            meta = msgspec.json.decode(value, type=LogMeta) if value else meta
        elif value is None:
            dead.pop(key, None)
            newest.pop(key, None)
        else:
            newest[key] = value
    if newest:
        keys = list(newest)
        for key, kept in zip(keys, partition.unpack(keys, list(newest.values())), strict=True):
            if kept:
                dead.pop(key, None)
            else:
                dead[key] = None
    return meta
