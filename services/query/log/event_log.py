"""Which events of the log are in the store, and which prefix of the log a request asks for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from schemas.errors import BackOff, InvalidRequest, Unavailable
from schemas.settings import Settings
from schemas.time.rfc3339 import write_time
from services.query.log.as_of import AsOf, text_of
from services.query.log.offsets import Commit, Kept, Offsets

STORED_TIMEOUT_S: Final = 2.0
_POLL_S: Final = 0.1
_DOWN_S: Final = 5.0
_SLOW_S: Final = 1.0


class EventLog:
    """The positions of `avila.events`: those that are kept, and those that the store has."""

    def __init__(self, settings: Settings) -> None:
        topic = settings.topics.events.name
        self.partitions = settings.partitions
        self.offsets = Offsets(settings.cluster, topic, settings.partitions)
        self.sink_group = f"{settings.app_id}-sink-clickhouse"
        self._stored: dict[int, int] = {}
        self._down_until = 0.0

    async def unwritten(self) -> dict[int, int] | None:
        """Return what `stored` does, if the sink is writing nothing; None if it is, or may be.

        It notes what it is about to write with the offset that it has committed, before it writes.
        """
        try:
            commits = await self._commits()
        except Unavailable:
            return None
        if any(one.metadata for one in commits.values()):
            return None
        return {number: one.offset for number, one in commits.items()}

    async def stored(self) -> dict[int, int]:
        """Return the offsets below which the sink has written everything, by partition.

        A partition is missing if the sink has committed nothing of it. While Kafka does not answer,
        they are those of its last answer: what is stored stays so.
        """
        try:
            commits = await self._commits()
            self._stored = {number: one.offset for number, one in commits.items()}
        except Unavailable:
            if not self._stored:
                raise
        return dict(self._stored)

    async def _commits(self) -> dict[int, Commit]:
        """Return what the sink has committed; Kafka is left alone for a while if it was slow."""
        if time.monotonic() < self._down_until:
            raise Unavailable("Kafka does not answer")
        asked_at = time.monotonic()
        try:
            return await asyncio.to_thread(self.offsets.commits, self.sink_group)
        except Unavailable:
            if time.monotonic() > asked_at + _SLOW_S:
                self._down_until = time.monotonic() + _DOWN_S
            raise

    async def resolve(self, asked: AsOf, field: str = "as_of") -> dict[int, int]:
        """Return the positions that a request asks for by a field.

        A time means the events that were appended before it.

        Raises:
            InvalidRequest: they are not all kept; says what is accepted.
            Unavailable: Kafka does not answer.
        """
        kept = await asyncio.to_thread(self.offsets.kept)
        if isinstance(asked, int):
            return await asyncio.to_thread(self._at, asked, kept, field)
        for number, offset in asked.items():
            if number not in kept:
                raise InvalidRequest(
                    f"there is no partition {number}: accepted are 0 to {len(kept) - 1}", field
                )
            first, end = kept[number]
            if not first <= offset <= end:
                raise InvalidRequest(
                    f"{offset} is not kept of partition {number}: accepted are {first} to {end}",
                    field,
                )
        return dict(asked)

    def _at(self, at_ms: int, kept: Mapping[int, Kept], field: str) -> dict[int, int]:
        if at_ms > time.time_ns() // 1_000_000:
            raise InvalidRequest("accepted are positions, or a time that is not ahead", field)
        since = self.offsets.since(at_ms)
        for number, offset in since.items():
            if offset is not None and offset <= kept[number].first > 0:
                first = self.offsets.next_records({number: kept[number].first})[number]
                raise InvalidRequest(
                    "the events of that time are no longer kept: accepted are times after "
                    f"{write_time(first.appended_at) if first else 'the newest event'}",
                    field,
                )
        return {
            number: end if (offset := since[number]) is None else min(offset, end)
            for number, (_, end) in kept.items()
        }

    async def await_stored(
        self,
        positions: Mapping[int, int],
        ask_stored: Callable[[], Awaitable[Mapping[int, int]]],
        timeout_s: float = STORED_TIMEOUT_S,
    ) -> None:
        """Wait until the store has all events below some positions.

        `ask_stored` returns the offsets below which it has everything, by partition.

        Raises:
            BackOff: it has not had them in time; says what it has.
            Unavailable: Kafka does not answer.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            stored = await ask_stored()
            lacking = {
                number: stored.get(number, 0)
                for number, offset in positions.items()
                if stored.get(number, 0) < offset
            }
            following = await asyncio.to_thread(self.offsets.next_records, lacking)
            # Markers of transactions take offsets, too: what counts are records.
            missing = {
                number: one.offset
                for number, one in following.items()
                if one is not None and one.offset < positions[number]
            }
            if not missing:
                return
            if time.monotonic() > deadline:
                has = {**positions, **missing}
                raise BackOff(
                    "the store does not have all of these events yet: it has those of "
                    f"as_of={text_of(has)}",
                    1,
                )
            await asyncio.sleep(_POLL_S)
