"""The contract that all sinks satisfy: the same tests for each."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from schemas.settings import Settings
from sinks.base import Batch, ResumableSink, Row
from sinks.clickhouse import ClickHouseSink
from sinks.memory import MemorySink
from tests.sinks.events import MONTH_MS, NOV_2025_MS, batch, event
from tests.sinks.tables import query


class SinkUnderTest(NamedTuple):
    """How to open a sink, as another process would, and its rows by partition and offset."""

    open: Callable[[], ResumableSink]
    written: Callable[[], list[tuple[int, int, str]]]


def _memory() -> SinkUnderTest:
    sink = MemorySink()

    def written() -> list[tuple[int, int, str]]:
        rows = sink.rows.to_pylist()
        return sorted((row["_partition"], row["_offset"], row["event_id"]) for row in rows)

    return SinkUnderTest(lambda: sink, written)


def _clickhouse(settings: Settings) -> SinkUnderTest:
    def written() -> list[tuple[int, int, str]]:
        rows = query(
            settings,
            "SELECT _partition, _offset, toString(event_id) "
            f"FROM {settings.clickhouse_database}.events ORDER BY ALL",
        )
        return [(partition, offset, name) for partition, offset, name in rows]

    return SinkUnderTest(lambda: ClickHouseSink(settings), written)


@pytest.fixture(params=["memory", "clickhouse"])
def tested(request: pytest.FixtureRequest) -> Iterator[SinkUnderTest]:
    if request.param == "memory":
        yield _memory()
    else:
        yield _clickhouse(request.getfixturevalue("database"))


@pytest.fixture
def sink(tested: SinkUnderTest) -> Iterator[ResumableSink]:
    sink = tested.open()
    sink.setup()
    yield sink
    sink.close()


EVENTS = [event(number) for number in range(20)]
PLACES = [(0, number, event["event_id"]) for number, event in enumerate(EVENTS)]


def test_rows_that_are_written_are_there(tested: SinkUnderTest, sink: ResumableSink) -> None:
    sink.write(batch(EVENTS))
    assert tested.written() == PLACES


def test_setting_up_again_changes_nothing(tested: SinkUnderTest, sink: ResumableSink) -> None:
    sink.write(batch(EVENTS))
    sink.setup()
    assert tested.written() == PLACES


@pytest.mark.parametrize("again", [False, True])
def test_a_batch_written_twice_is_there_once(
    tested: SinkUnderTest, sink: ResumableSink, *, again: bool
) -> None:
    for _ in range(2):
        sink.write(batch(EVENTS, again=again))
    assert tested.written() == PLACES


def test_a_batch_that_may_have_been_written_but_was_not_is_written(
    tested: SinkUnderTest, sink: ResumableSink
) -> None:
    sink.write(batch(EVENTS, again=True))
    assert tested.written() == PLACES


@pytest.mark.usefixtures("sink")
def test_a_batch_written_by_two_processes_at_once_is_there_once(tested: SinkUnderTest) -> None:
    others = [tested.open() for _ in range(2)]
    start = threading.Barrier(2)

    def write(other: ResumableSink, again: bool) -> None:
        start.wait()
        other.write(batch(EVENTS, again=again))

    threads = [
        threading.Thread(target=write, args=(other, again))
        for other, again in zip(others, (False, True), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert tested.written() == PLACES


def test_a_batch_of_several_months_is_there_once(
    tested: SinkUnderTest, sink: ResumableSink
) -> None:
    events = [event(n, timestamp=NOV_2025_MS + (n % 4 - 2) * MONTH_MS) for n in range(20)]
    for again in (False, True, False):
        sink.write(batch(events, again=again))
    assert tested.written() == PLACES


def test_equal_rows_of_different_chunks_are_all_there(
    tested: SinkUnderTest, sink: ResumableSink
) -> None:
    sink.write(batch(EVENTS))
    sink.write(batch(EVENTS, first=20))
    sink.write(batch(EVENTS, partition=1))
    assert len(tested.written()) == 60


def test_an_empty_batch_leaves_nothing(tested: SinkUnderTest, sink: ResumableSink) -> None:
    empty: Batch = batch([], last=0)
    sink.write(empty)
    sink.write(empty._replace(again=True))
    assert tested.written() == []


def test_the_newest_rows_of_a_partition_are_known(sink: ResumableSink) -> None:
    assert sink.stored(0, 3) == {}
    sink.write(batch(EVENTS))
    sink.write(batch(EVENTS, partition=1, first=50))
    with contextlib.closing(sink.reopened()) as other:
        found = other.stored(0, 3)
    expected = EVENTS[-3:]
    assert found == {
        17 + n: Row(one["project_id"], one["distinct_id"], one["event"])
        for n, one in enumerate(expected)
    }
    assert sorted(sink.stored(1, 100)) == list(range(50, 70))
