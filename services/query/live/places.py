"""Who may be connected to the live WebSocket: no stranger and no project shuts out the others.

A connection that has not shown its token yet has no place among those that have: of too many such
connections the oldest is closed. When all places are taken, one more of a project that has fewer
than another displaces the newest connection of the project that has the most.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from schemas.errors import BackOff

MAX_CONNECTIONS: Final = 256
MAX_STRANGERS: Final = 256


class Place:
    """The place of one connection; it is lost when another connection gets it."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._lost = asyncio.Event()

    def lose(self) -> None:
        """Give the place to another connection."""
        self._lost.set()

    async def until_lost(self) -> None:
        """Wait for the loss of the place, as long as it takes.

        Raises:
            BackOff: the place is lost.
        """
        await self._lost.wait()
        raise BackOff(self._reason, 1)


class Places:
    """The connections of a process; use it on one event loop.

    Attributes:
        taken: how many connections have shown a token.
    """

    def __init__(
        self, max_connections: int = MAX_CONNECTIONS, max_strangers: int = MAX_STRANGERS
    ) -> None:
        self.taken = 0
        self._max_connections = max_connections
        self._max_strangers = max_strangers
        self._strangers: dict[Place, None] = {}
        self._held: defaultdict[str, list[Place]] = defaultdict(list)

    @contextlib.contextmanager
    def stranger(self) -> Iterator[Place]:
        """Hold a place for a connection without a token inside the block."""
        if len(self._strangers) >= self._max_strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.lose()
        place = Place(f"{self._max_strangers} newer connections wait for their tokens")
        self._strangers[place] = None
        try:
            yield place
        finally:
            self._strangers.pop(place, None)

    @contextlib.contextmanager
    def member(self, project_id: str) -> Iterator[Place]:
        """Hold a place for a connection of a project inside the block.

        Raises:
            BackOff: all places are taken, and no project has more of them than this one would.
        """
        if self.taken >= self._max_connections:
            largest = max(self._held, key=lambda name: len(self._held[name]))
            if len(self._held[largest]) <= len(self._held.get(project_id, ())) + 1:
                raise BackOff(f"{self._max_connections} connections are open: try again later", 1)
            self._held[largest][-1].lose()
            self._leave(largest, self._held[largest][-1])
        place = Place("all connections are taken, and another project has fewer: try again later")
        self._held[project_id].append(place)
        self.taken += 1
        try:
            yield place
        finally:
            self._leave(project_id, place)

    def _leave(self, project_id: str, place: Place) -> None:
        held = self._held.get(project_id, [])
        if place in held:
            held.remove(place)
            self.taken -= 1
            if not held:
                del self._held[project_id]
