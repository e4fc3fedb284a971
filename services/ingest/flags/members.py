"""Who is in the segments that flags name: followed from when the first flag names one.

The topic of segments is read whole, so a segment that a flag names for the first time needs another
reading from the beginning. The earlier reading answers for the other segments until the new one has
come as far. Deployments whose flags name no segment read nothing.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from schemas.errors import AvilaError
from services.ingest.flags.catalog import SegmentKey
from services.ingest.flags.reading import MemberReading, SegmentSource

_log = structlog.get_logger()

_CHECK_S: Final = 5.0


class SegmentMembers:
    """The members of the segments that `want` has asked for, while `run` runs; for one loop."""

    def __init__(self, source: SegmentSource) -> None:
        self._source = source
        self._wanted: frozenset[SegmentKey] = frozenset()
        self._current: MemberReading | None = None
        self._next: MemberReading | None = None
        self._needed = asyncio.Event()
        self._began = False

    def want(self, keys: Collection[SegmentKey]) -> None:
        """Follow these segments, and forget all others. Those that are new are known later."""
        self._wanted = frozenset(keys)
        for reading in (self._current, self._next):
            if reading is not None:
                reading.keep_only(self._wanted)
        if self._missing():
            self._needed.set()

    def contains(self, key: SegmentKey, hashed: int) -> bool | None:
        """Whether a segment has the member with a hash; None if that is not known now."""
        current = self._current
        if current is None or current.view.failure:
            return None
        members = current.members.get(key)
        return None if members is None else hashed in members

    @property
    def waiting_for(self) -> str:
        """What of the first reading is still to be done; empty once it is over, and for good.

        A segment that a flag names later makes nobody wait, and neither does a reading that fails:
        flags that need it are answered as failed.
        """
        if not self._began and not self._missing():
            self._began = True
        if self._began:
            return ""
        lag = "" if self._next is None else f", {self._next.view.lag} records to read"
        return f"the members of {len(self._missing())} segments that flags name{lag}"

    async def run(self) -> None:
        """Read what is wanted until cancelled."""
        try:
            while True:
                if self._missing() or self._has_failed():
                    await self._read_again()
                await self._sleep()
        finally:
            for reading in (self._current, self._next):
                if reading is not None:
                    await reading.stop()

    def _missing(self) -> frozenset[SegmentKey]:
        known = self._current.members.keys() if self._current is not None else frozenset()
        return self._wanted - known

    def _has_failed(self) -> bool:
        return self._current is not None and bool(self._current.view.failure and self._wanted)

    async def _sleep(self) -> None:
        """Return when a segment is needed, or after some seconds."""
        try:
            await asyncio.wait_for(self._needed.wait(), _CHECK_S)
        except TimeoutError:
            return
        self._needed.clear()

    async def _read_again(self) -> None:
        """Read the topic from its beginning, and answer from that once it is as far as before."""
        reading = self._next = MemberReading(self._source, self._wanted)
        reading.start()
        try:
            await reading.view.catch_up()
            if self._current is not None:
                for partition, offset in self._current.view.positions.items():
                    await reading.view.reach(partition, offset)
        except AvilaError as error:
            _log.error("flag_segments_unread", reason=str(error))
            self._began = True
            self._next = None
            await reading.stop()
            return
        before, self._current, self._next = self._current, reading, None
        if before is not None:
            await before.stop()
