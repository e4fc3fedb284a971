"""What a partition knows of its log: which rows are still to be written, and from where to redo."""

import numpy as np
import pyarrow as pa

from pipelines.funnel_partition import EventColumns, Funnel, FunnelPartition
from pipelines.keys import Texts
from pipelines.matching import FunnelKey, Match, key_of
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


def partition() -> FunnelPartition:
    empty = FunnelPartition()
    empty.funnels[KEY] = Funnel(DEFINITION, lateness_ms=0, since=0)
    return empty


def feed(
    into: FunnelPartition, persons: list[str], offset: int, due: int, key: FunnelKey = KEY
) -> None:
    """Fold a first step of each of the persons, at offsets from `offset` on."""
    count = len(persons)
    events = EventColumns(
        Texts.of(pa.array(["shop"] * count)),
        Texts.of(pa.array(persons)),
        np.arange(count, dtype=np.int64),
        np.arange(offset, offset + count, dtype=np.int64),
    )
    matches = {key: Match(np.arange(count), np.ones(count, np.uint32))}
    for _ in into.fold(events, matches, due):
        pass
    into.position = offset + count


def due_at(of: FunnelPartition, now_ms: int) -> list[bytes]:
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
    two.load(one.dump(), [KEY], stamp=one.position, since=one.redo_from)
    two.restored(one.position)
    assert two.redo_from == 11
    assert due_at(two, 0) == [b"shop/ben"]
    assert two.redo_from == 12
