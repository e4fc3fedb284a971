"""Watches how far the worker and the sink have read the inbox and the event store."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from schemas.errors import Unavailable
from schemas.settings import Settings
from services.query.http.params import Source, now_ms
from services.query.log.offsets import Offsets
from services.query.log.read_until import ReadUntil, Sample

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 1.0


class Reading:
    """Up to which moment the stream and the store have read everything, sampled once a second."""

    def __init__(self, settings: Settings) -> None:
        topics, cluster, count = settings.topics, settings.cluster, settings.partitions
        self._inbox = _Tail(Offsets(cluster, topics.inbox.name, count))
        self._events = _Tail(Offsets(cluster, topics.events.name, count))
        self._worker = settings.app_id
        self._readers: dict[Source, str] = {
            "stream": settings.app_id,
            "store": f"{settings.app_id}-sink-clickhouse",
        }
        self._until = ReadUntil()

    def until(self, source: Source) -> int | None:
        """Return the time (ms) before which all acknowledged events are read; None if unknown.

        An answer of the source that is given later includes them.
        """
        return self._until.of(source)

    async def run(self) -> None:
        """Sample until this is cancelled. While Kafka does not answer, nothing moves."""
        trouble = ""
        while True:
            before, trouble = trouble, ""
            try:
                self._until.add(await asyncio.to_thread(self._sample))
            except Unavailable as error:
                trouble = str(error)
                if not before:  # once an outage
                    log.warning("reading_unknown", reason=trouble)
            await asyncio.sleep(_INTERVAL_S)

    def _sample(self) -> Sample:
        at = now_ms()
        inbox = self._inbox.ends()
        inbox_read = self._inbox.read_by(self._worker)
        events = self._events.ends()
        read = {source: self._events.read_by(group) for source, group in self._readers.items()}
        return Sample(at, inbox, inbox_read, events, read)


class _Tail:
    """The ends of a topic, and how far groups have read it."""

    def __init__(self, offsets: Offsets) -> None:
        self._offsets = offsets
        self._ends: Mapping[int, int] = {}
        self._before: dict[str, Mapping[int, int]] = {}
        self._empty: set[tuple[int, int, int]] = set()

    def ends(self) -> Mapping[int, int]:
        """Return the ends of the partitions, records of open transactions included."""
        self._ends = self._offsets.ends()
        return self._ends

    def read_by(self, group: str) -> dict[int, int]:
        """Return how far a group has read: to the end, if no record follows what it committed.

        A group commits the offset after its last record; markers of transactions may follow. They
        are looked for once a group rests.
        """
        committed = self._offsets.committed(group)
        before, self._before[group] = self._before.get(group, {}), committed
        resting = {
            number: offset
            for number, offset in committed.items()
            if offset == before.get(number) and offset < self._ends.get(number, 0)
        }
        tails = {number: (number, offset, self._ends[number]) for number, offset in resting.items()}
        unknown = {number: resting[number] for number, at in tails.items() if at not in self._empty}
        if unknown:
            decided = self._offsets.kept()
            following = self._offsets.next_records(unknown)
            self._empty = {at for at in self._empty if at[2] == self._ends.get(at[0])} | {
                tails[number]
                for number, record in following.items()
                if record is None and decided[number].end >= self._ends[number]
            }
        return committed | {at[0]: at[2] for at in tails.values() if at in self._empty}
