"""Who may be connected: no stranger and no project shuts out the others.

A connection that has not shown its credential yet has no place among those that have: of too many
such connections the oldest loses its place. When all places are taken, one more of a project that
has fewer than another displaces the newest connection of the project that has the most.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from schemas.errors import BackOff

MAX_STRANGERS: Final = 256


class _Place:
    """The place of one connection, which the current task holds until another connection gets it.

    Attributes:
        reason: why the place is lost, if it is.
    """

    def __init__(self, reason: str) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("places are held by tasks")
        self.reason = reason
        self._task = task
        self._cancelling = task.cancelling()
        self._is_lost = False

    def lose(self) -> None:
        """Give the place to another connection: cancel what the task does."""
        self._is_lost = True
        self._task.cancel()

    def uncancel(self) -> bool:
        """Take back the cancellation for a loss; return whether there is one and no other."""
        return self._is_lost and self._task.uncancel() <= self._cancelling


class Places:
    """The connections of a process; use it on one event loop.

    `what` names the connections and their limit in refusals, which advise to try again after
    `retry_after_s`. A block that holds a place is cancelled when the place is lost.

    Attributes:
        taken: how many connections have shown a credential.
    """

    def __init__(
        self,
        max_connections: int,
        max_strangers: int = MAX_STRANGERS,
        what: str = "connections",
        retry_after_s: float = 1,
    ) -> None:
        self.taken = 0
        self._max_connections = max_connections
        self._max_strangers = max_strangers
        self._what = what
        self._retry_after_s = retry_after_s
        self._strangers: dict[_Place, None] = {}
        self._held: defaultdict[str, list[_Place]] = defaultdict(list)

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """Hold a place for a connection without a credential inside the block.

        Raises:
            BackOff: newer connections have taken the place.
        """
        if len(self._strangers) >= self._max_strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.lose()
        place = _Place(f"{self._max_strangers} newer connections have shown no credential yet")
        self._strangers[place] = None
        try:
            with self._until_lost(place):
                yield
        finally:
            self._strangers.pop(place, None)

    @contextmanager
    def member(self, project_id: str) -> Iterator[None]:
        """Hold a place for a connection of a project inside the block.

        Raises:
            BackOff: all places are taken, and no project has more of them than this one would; or
                a connection of another project has taken the place.
        """
        if self.taken >= self._max_connections:
            largest = max(self._held, key=lambda name: len(self._held[name]))
            if len(self._held[largest]) <= len(self._held.get(project_id, ())) + 1:
                raise self._back_off(
                    f"{self._max_connections} {self._what} are open, the maximum: try again later"
                )
            newest = self._held[largest][-1]
            self._leave(largest, newest)
            newest.lose()
        place = _Place(
            f"all {self._what} are taken, and another project has fewer: try again later"
        )
        self._held[project_id].append(place)
        self.taken += 1
        try:
            with self._until_lost(place):
                yield
        finally:
            self._leave(project_id, place)

    @contextmanager
    def _until_lost(self, place: _Place) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            if place.uncancel():
                raise self._back_off(place.reason) from None
            raise

    def _leave(self, project_id: str, place: _Place) -> None:
        held = self._held.get(project_id, [])
        if place in held:
            held.remove(place)
            self.taken -= 1
            if not held:
                del self._held[project_id]

    def _back_off(self, reason: str) -> BackOff:
        return BackOff(reason, self._retry_after_s)
