"""What a partition knows of its log: which rows are still to be written, and from where to redo."""

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from pipelines.funnels import FUNNELS
from pipelines.keys import Texts
from pipelines.matching import Match
from pipelines.operators import Backfill, Key, Running, key_of
from pipelines.partition import EventColumns, Partition, Stretch
from schemas import definitions

DEFINITION = definitions.FunnelDefinition(
    project_id="shop",
    id="buy",
    version=1,
    created_at=0,
    updated_at=0,
    funnel=definitions.Funnel(
        steps=(definitions.Step("home"), definitions.Step("cart")), window_s=60
    ),
)
KEY = key_of(DEFINITION)


def partition() -> Partition:
    empty = Partition()
    empty.running[KEY] = Running(FUNNELS, DEFINITION, 0)
    return empty


def first_steps(persons: list[str], offset: int, key: Key) -> tuple[EventColumns, dict[Key, Match]]:
    """A first step of each of the persons, at offsets from `offset` on."""
    count = len(persons)
    events = EventColumns(
        Texts.of(pa.array(["shop"] * count)),
        Texts.of(pa.array(persons)),
        np.arange(count, dtype=np.int64),
        np.arange(offset, offset + count, dtype=np.int64),
    )
    return events, {key: Match(np.arange(count), np.ones(count, np.uint32))}


def feed(into: Partition, persons: list[str], offset: int, due: int, key: Key = KEY) -> None:
    """Fold a first step of each of the persons, at offsets from `offset` on."""
    for _ in into.fold(*first_steps(persons, offset, key), due):
        pass
    into.position = offset + len(persons)


def due_at(of: Partition, now_ms: int) -> list[bytes]:
    """The keys of what is to be logged by now."""
    return [key for keys, _ in of.due(now_ms) for key in keys]


def test_rows_are_logged_when_they_are_due_and_redone_from_until_then() -> None:
    one = partition()
    feed(one, ["ann", "ben"], offset=10, due=100)
    feed(one, ["cem"], offset=12, due=200)
    assert one.redo_from == 10
    assert due_at(one, 99) == []
    assert due_at(one, 100) == [b"shop/ann", b"shop/ben"]
    assert one.redo_from == 12
    assert due_at(one, 200) == [b"shop/cem"]
    assert one.redo_from == 13


def test_rows_that_waited_when_a_snapshot_was_taken_wait_again_afterwards() -> None:
    one = partition()
    feed(one, ["ann"], offset=10, due=100)
    assert due_at(one, 100) == [b"shop/ann"]
    feed(one, ["ben"], offset=11, due=200)
    two = partition()
    two.load(one.dump(), {KEY: Stretch(one.redo_from, one.position)})
    two.restored(one.position)
    assert two.redo_from == 11
    assert due_at(two, 0) == [b"shop/ben"]
    assert two.redo_from == 12


def test_a_funnel_that_comes_later_catches_up_in_stretches_and_goes_live() -> None:
    one = partition()
    feed(one, ["ann", "ben", "cem"], offset=10, due=100)
    funnel = Running(FUNNELS, replace(DEFINITION, id="later"), 0, Backfill())
    later = funnel.key
    one.running[later] = funnel
    feed(one, ["dan"], offset=13, due=100, key=later)
    assert funnel.state.size == 0  # live events are not for it yet

    assert backfilled(one, later, ["ann", "ben"], Stretch(0, 12)) == 2
    assert (funnel.redo_from(0), one.redo_from) == (10, 10)
    assert one.behind[later].at == 12
    # A stretch that begins beyond what it has would leave a gap: it is for others.
    assert backfilled(one, later, ["eve"], Stretch(13, 14)) == 0
    assert backfilled(one, later, ["ben", "cem", "dan"], Stretch(11, 14)) == 2
    assert one.go_live(14) == [later]
    assert not one.behind
    feed(one, ["fay"], offset=14, due=100, key=later)
    assert funnel.state.size == 5


def backfilled(into: Partition, key: Key, persons: list[str], stretch: Stretch) -> int:
    """Fold a stretch of the past that has a first step of each of the persons at its end."""
    before = into.running[key].state.size
    events, matches = first_steps(persons, stretch.end - len(persons), key)
    for _ in into.backfill(events, matches, stretch, {"shop": 0}, due=100):
        pass
    return into.running[key].state.size - before
