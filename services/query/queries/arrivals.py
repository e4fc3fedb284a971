"""The version of a closed period's events, which events that come too late change.

A closed period lacks no event but those that come later than the allowed lateness. The events that
are new in the store are looked at from time to time: each look that finds one which is too late
gives all periods that end after it another version.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from services.query.clickhouse.events import earliest_statement
from services.query.clickhouse.queries import EventStore

_MAX_PROJECTS: Final = 1_000
_MAX_FOUND: Final = 128


class _Late(NamedTuple):
    """A look that has found late events: its number, and the time (ms) of the earliest of them."""

    look: int
    earliest: int


class _Project:
    """What is known of a project: the positions of the last look, and what the looks have found."""

    def __init__(self, version: int) -> None:
        self.looking = asyncio.Lock()
        self.positions: dict[int, int] | None = None
        self.next_look_at = 0.0
        self.late: deque[_Late] = deque()
        self._version = version

    def add(self, late: _Late) -> None:
        """Take in what a look has found; the oldest look gives all periods its version then."""
        self.late.append(late)
        if len(self.late) > _MAX_FOUND:
            self._version = self.late.popleft().look

    def version(self, end: int) -> int:
        """Return the version of periods that end at a time (ms)."""
        return max([self._version, *(one.look for one in self.late if one.earliest < end)])


class Arrivals:
    """Looks at what has come of a project, once in `every_s` seconds at most.

    Use it on one event loop; `clock` gives monotonic seconds.
    """

    def __init__(
        self, events: EventStore, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._events = events
        self._every_s = every_s
        self._clock = clock
        self._looks = 0
        self._projects: OrderedDict[str, _Project] = OrderedDict()

    async def version(self, project_id: str, end: int, complete_until: int) -> int:
        """Return the version of the events of closed periods that end at a time (ms).

        It is as of at most `every_s` seconds ago. Answers at positions that are read later have
        all events of the version. `complete_until` (ms) is not before `end`: what comes before it
        is late.

        Raises what `EventStore.query` does.
        """
        project = self._projects.get(project_id)
        if project is None:
            project = self._projects[project_id] = _Project(self._next_look())
            while len(self._projects) > _MAX_PROJECTS:
                self._projects.popitem(last=False)
        self._projects.move_to_end(project_id)
        async with project.looking:
            if self._clock() >= project.next_look_at:
                await self._look(project_id, project, complete_until)
        return project.version(end)

    async def _look(self, project_id: str, project: _Project, complete_until: int) -> None:
        next_look_at = self._clock() + self._every_s
        known, positions = project.positions, await self._events.positions(project_id)
        if known is not None and positions != known:
            result = await self._events.query(
                project_id, lambda source: earliest_statement(source, project_id, known), positions
            )
            earliest = next(iter(result.only), None)
            if earliest is not None and int(earliest) < complete_until:
                project.add(_Late(self._next_look(), int(earliest)))
        project.positions, project.next_look_at = positions, next_look_at

    def _next_look(self) -> int:
        self._looks += 1
        return self._looks
