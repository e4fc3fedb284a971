"""Turns at ClickHouse: each project waits for its own queries, never for all of another's."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import TypeAlias

from schemas.errors import BackOff

_Waiting: TypeAlias = deque[asyncio.Future[None]]


class Turns:
    """Lets `at_once` queries run, of one project all but one, and some more of each wait.

    A turn that is free goes to the project with the fewest running queries; of several, to the one
    that got its last turn the longest ago. Use it on one event loop.
    """

    def __init__(self, at_once: int, waiting_per_project: int) -> None:
        self._at_once = at_once
        self._of_one_project = max(1, at_once - 1)
        self._max_waiting = waiting_per_project
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, _Waiting] = {}
        self._turn_number = 0
        self._last_turn: dict[str, int] = {}  # of projects that run or wait

    @contextlib.asynccontextmanager
    async def turn(self, project_id: str) -> AsyncIterator[None]:
        """Run a query of the project inside the block.

        Raises:
            BackOff: too many queries of the project are waiting.
        """
        await self._take(project_id)
        try:
            yield
        finally:
            self._give_back(project_id)

    async def _take(self, project_id: str) -> None:
        waiting = self._waiting.get(project_id, deque())
        if not waiting and self._may_run(project_id):
            self._start(project_id)
            return
        if len(waiting) >= self._max_waiting:
            count = self._running[project_id] + len(waiting)
            raise BackOff(f"{count} ClickHouse queries of the project are running or waiting", 1)
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        self._waiting[project_id] = waiting
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(project_id)  # it came at the same moment
            else:
                with contextlib.suppress(ValueError):  # it may have been passed over
                    waiting.remove(turn)
                self._forget_if_empty(project_id)
            raise

    def _may_run(self, project_id: str) -> bool:
        return (
            self._running.total() < self._at_once
            and self._running[project_id] < self._of_one_project
        )

    def _give_back(self, project_id: str) -> None:
        self._running[project_id] -= 1
        if not self._running[project_id]:
            del self._running[project_id]
        if project_id not in self._running and project_id not in self._waiting:
            del self._last_turn[project_id]
        while able := [name for name in self._waiting if self._may_run(name)]:
            self._start_next(min(able, key=self._priority))

    def _priority(self, project_id: str) -> tuple[int, int]:
        return self._running[project_id], self._last_turn.get(project_id, 0)

    def _start_next(self, project_id: str) -> None:
        turn = self._waiting[project_id].popleft()
        self._forget_if_empty(project_id)
        if not turn.cancelled():
            self._start(project_id)
            turn.set_result(None)

    def _start(self, project_id: str) -> None:
        self._running[project_id] += 1
        self._turn_number += 1
        self._last_turn[project_id] = self._turn_number

    def _forget_if_empty(self, project_id: str) -> None:
        if not self._waiting.get(project_id, True):
            del self._waiting[project_id]
