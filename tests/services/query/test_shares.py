"""No project and no stranger takes what others need: turns at ClickHouse, and live connections."""

import asyncio

import pytest

from schemas.errors import BackOff
from services.places import Places
from services.turns import Turns


class Queries:
    """Queries that run until they are ended, in the order in which they have begun."""

    def __init__(self, turns: Turns) -> None:
        self.begun: list[str] = []
        self._turns = turns
        self._ends: list[tuple[str, asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, project: str, count: int = 1) -> None:
        self._tasks += (asyncio.create_task(self._run(project)) for _ in range(count))
        await settled()

    async def end(self, project: str) -> None:
        at = next(at for at, (name, _) in enumerate(self._ends) if name == project)
        self._ends.pop(at)[1].set()
        await settled()

    async def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, project: str) -> None:
        async with self._turns.turn(project):
            end = asyncio.Event()
            self.begun.append(project)
            self._ends.append((project, end))
            await end.wait()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_project_leaves_a_turn_to_the_others() -> None:
    queries = Queries(Turns(4, 100))
    await queries.ask("loud", 60)
    assert queries.begun == ["loud"] * 3
    await queries.ask("quiet")
    assert queries.begun[3:] == ["quiet"]
    await queries.cancel_all()


async def test_a_free_turn_goes_to_the_project_with_the_fewest() -> None:
    queries = Queries(Turns(2, 100))
    await queries.ask("a", 10)
    await queries.ask("b", 10)
    await queries.ask("c", 10)
    assert queries.begun == ["a", "b"]
    for project in "abcabc":
        await queries.end(project)
    assert sorted(queries.begun[2:5]) == ["a", "b", "c"]
    assert sorted(queries.begun[5:8]) == ["a", "b", "c"]
    await queries.cancel_all()


async def test_too_many_waiting_queries_cost_their_project_alone() -> None:
    turns = Turns(2, 5)
    queries = Queries(turns)
    await queries.ask("loud", 6)
    with pytest.raises(BackOff, match="6 ClickHouse queries of the project"):
        async with turns.turn("loud"):
            pass
    await queries.ask("quiet")
    assert queries.begun == ["loud", "quiet"]
    await queries.cancel_all()


async def test_queries_that_are_given_up_give_back_their_turns() -> None:
    turns = Turns(2, 100)
    queries = Queries(turns)
    await queries.ask("a", 30)
    await queries.ask("b", 30)
    await queries.cancel_all()
    again = Queries(turns)
    await again.ask("a")
    await again.ask("b")
    assert again.begun == ["a", "b"]
    await again.cancel_all()


class Connections:
    """Connections that stay until they are left or lose their places; each is a task."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, project: str | None, count: int = 1) -> list[asyncio.Task[None]]:
        """Connections of a project, or of strangers, in order."""
        tasks = [asyncio.create_task(self._stay(project)) for _ in range(count)]
        self._tasks += tasks
        await settled()
        return tasks

    async def leave_all(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self.places.taken == 0

    async def _stay(self, project: str | None) -> None:
        with self.places.member(project) if project else self.places.stranger():
            await self._over.wait()


def lost(tasks: list[asyncio.Task[None]]) -> list[bool]:
    """Say which connections have lost their places, or got none; none has ended otherwise."""
    for task in tasks:
        if task.done():
            assert isinstance(task.exception(), BackOff)
    return [task.done() for task in tasks]


async def test_of_too_many_strangers_the_oldest_goes_and_members_stay() -> None:
    connections = Connections(Places(max_connections=2, max_strangers=3))
    members = await connections.open("shop")
    strangers = await connections.open(None, 5)
    assert lost(strangers) == [True, True, False, False, False]
    members += await connections.open("shop")
    assert lost(members) == [False, False]
    assert connections.places.taken == 2
    await connections.leave_all()


async def test_a_project_with_fewer_connections_displaces_the_newest_of_the_one_with_most() -> None:
    connections = Connections(Places(max_connections=4))
    loud = await connections.open("loud", 5)
    assert lost(loud) == [False, False, False, False, True]
    quiet = await connections.open("quiet", 3)  # two have equal shares; the third is refused
    assert lost(loud) == [False, False, True, True, True]
    assert lost(quiet) == [False, False, True]
    assert lost(await connections.open("other")) == [False]
    assert sum(lost(loud + quiet)) == 5
    assert connections.places.taken == 4
    await connections.leave_all()


async def test_who_loses_its_place_is_told_to_come_back() -> None:
    connections = Connections(Places(4, max_strangers=1))
    [first, _] = await connections.open(None, 2)
    with pytest.raises(BackOff, match="newer connections"):
        await first
    await connections.leave_all()


async def test_who_is_cancelled_while_its_place_is_lost_is_cancelled() -> None:
    connections = Connections(Places(1))
    [loud] = await connections.open("loud")
    loud.cancel()
    assert lost(await connections.open("quiet")) == [False]
    assert loud.cancelled()
    await connections.leave_all()
