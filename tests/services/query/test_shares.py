"""No project and no stranger takes what others need: turns at ClickHouse, and live connections."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from schemas.errors import BackOff
from services.query.clickhouse.turns import Turns
from services.query.live.places import Place, Places


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


def lost(place: Place) -> bool:
    return place._lost.is_set()


def test_of_too_many_strangers_the_oldest_goes_and_members_stay() -> None:
    places = Places(max_connections=2, max_strangers=3)
    with ExitStack() as stack:
        member = stack.enter_context(places.member("shop"))
        strangers = [stack.enter_context(places.stranger()) for _ in range(5)]
        assert [lost(place) for place in strangers] == [True, True, False, False, False]
        assert not lost(member)
        assert not lost(stack.enter_context(places.member("shop")))
        assert places.taken == 2
    assert places.taken == 0


def test_a_project_with_fewer_connections_displaces_the_newest_of_the_one_with_most() -> None:
    places = Places(max_connections=4)
    with ExitStack() as stack:
        loud = [stack.enter_context(places.member("loud")) for _ in range(4)]
        with pytest.raises(BackOff):
            stack.enter_context(places.member("loud"))
        quiet = [stack.enter_context(places.member("quiet")) for _ in range(2)]
        assert [lost(place) for place in loud] == [False, False, True, True]
        with pytest.raises(BackOff):  # they have equal shares now
            stack.enter_context(places.member("quiet"))
        other = stack.enter_context(places.member("other"))
        assert not lost(other)
        assert sum(map(lost, [*loud, *quiet])) == 3
        assert places.taken == 4
    assert places.taken == 0


async def test_who_loses_its_place_is_told_to_come_back() -> None:
    places = Places(max_strangers=1)
    with places.stranger() as place, places.stranger():
        waiting: Any = asyncio.create_task(place.until_lost())
        with pytest.raises(BackOff, match="newer connections"):
            await waiting
