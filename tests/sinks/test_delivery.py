import time
from collections import Counter
from typing import cast

import pyarrow as pa
import pytest

from schemas.errors import Unavailable
from schemas.settings import Settings
from sinks.base import Batch
from sinks.memory import MemorySink
from tests.kafka import read_all
from tests.sinks.deliveries import FailingSink, Running, failing_once, wait_for
from tests.sinks.events import EventStore, event
from tests.sinks.tables import Place, records_on_topic

COUNT = 2_000


@pytest.fixture
def event_store(settings: Settings) -> EventStore:
    return EventStore(settings)


def delivered(sink: MemorySink) -> Counter[Place]:
    rows = sink.rows
    times = cast(list[int], rows.column("timestamp").cast(pa.int64()).to_pylist())
    return Counter(
        (row["_partition"], row["_offset"], row["event_id"], row["person_id"], time_ms)
        for row, time_ms in zip(rows.to_pylist(), times, strict=True)
    )


def deliver(
    settings: Settings, sink: FailingSink | MemorySink, rows: int, chunk_rows: int = 50_000
) -> None:
    with Running(settings, sink, chunk_rows=chunk_rows):
        wait_for(lambda: len(sink.rows) >= rows, f"the delivery of {rows} rows")


def test_every_committed_event_arrives_once_and_no_aborted_one(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(COUNT)
    sink = MemorySink()
    deliver(settings, sink, COUNT)
    assert delivered(sink) == records_on_topic(settings)


def test_what_was_delivered_is_not_delivered_again(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(COUNT)
    deliver(settings, MemorySink(), COUNT)
    event_store.append(500)
    sink = FailingSink()
    deliver(settings, sink, 500)
    assert len(sink.rows) == 500
    assert not any(batch.again for batch in sink.asked)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("number", [1, 4])
def test_after_a_crash_the_same_chunk_is_written_first(
    settings: Settings, event_store: EventStore, where: str, number: int
) -> None:
    event_store.append(COUNT)
    sink = FailingSink()
    with failing_once(sink, where, number), Running(settings, sink, chunk_rows=300) as running:
        running.join()
        assert isinstance(running.failure, RuntimeError)
        running.forget_failure()
    crashed = sink.asked[-1]
    sink.asked.clear()
    # More records have arrived, so newly planned chunks would be different.
    event_store.append(500)
    deliver(settings, sink, COUNT + 500)
    replayed = {batch.name: batch for batch in sink.asked if batch.again}
    assert crashed.name in replayed
    assert replayed[crashed.name].rows == crashed.rows
    assert delivered(sink) == records_on_topic(settings)


def test_a_sink_that_does_not_answer_is_asked_until_it_does(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(COUNT)
    sink = FailingSink()
    tries = 3
    sink.before = lambda _: Unavailable("away") if len(sink.asked) <= tries else None
    deliver(settings, sink, COUNT)
    assert [batch.again for batch in sink.asked[: tries + 1]] == [False, True, True, True]
    assert delivered(sink) == records_on_topic(settings)


def test_two_deliveries_share_the_partitions_and_hand_them_over(
    settings: Settings, event_store: EventStore
) -> None:
    sink = FailingSink()
    event_store.append(COUNT)
    with Running(settings, sink):
        with Running(settings, sink):
            event_store.append(COUNT)
            wait_for(lambda: len(sink.rows) == 2 * COUNT)
        event_store.append(COUNT)
        wait_for(lambda: len(sink.rows) == 3 * COUNT)
    assert delivered(sink) == records_on_topic(settings)


def test_a_record_that_is_no_event_is_rejected_with_its_reason_and_place(
    settings: Settings, event_store: EventStore
) -> None:
    good = event_store.encode([event(0), event(1)])
    bad = [b"", b"text", good[0][:-3], good[0] + b"x", b"\0\xff\xff\xff\xff1", None]
    event_store.append_values(good[0], *bad, good[1])
    sink = MemorySink()
    deliver(settings, sink, 2)
    assert [row["_offset"] for row in sink.rows.to_pylist()] == [0, 7]
    found = []
    for message in read_all(settings.bootstrap, settings.topics.rejected.name):
        headers = dict(cast(list[tuple[str, bytes]], message.headers()))
        assert headers["detail"]
        assert headers["topic"] == settings.topics.events.name.encode()
        assert headers["partition"] == b"0"
        found.append((int(headers["offset"]), headers["reason"], message.value()))
    assert sorted(found) == [
        (1, b"not_wire_format", b""),
        (2, b"not_wire_format", b"text"),
        (3, b"undecodable", bad[2]),
        (4, b"undecodable", bad[3]),
        (5, b"unknown_schema", bad[4]),
        (6, b"not_wire_format", None),
    ]


def test_a_chunk_without_events_is_committed(settings: Settings, event_store: EventStore) -> None:
    event_store.append_values(b"text")
    sink = MemorySink()
    with Running(settings, sink):
        wait_for(lambda: bool(read_all(settings.bootstrap, settings.topics.rejected.name)))
        event_store.append(10, abort_every=0)
        wait_for(lambda: len(sink.rows) == 10)
    assert delivered(sink).total() == 10


def test_it_stops_in_time_although_the_sink_hangs(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(100)
    sink = FailingSink()
    hang = [True]

    def wait(_: Batch) -> None:
        while hang[0]:
            time.sleep(0.02)

    sink.before = wait
    with Running(settings, sink):
        wait_for(lambda: bool(sink.asked))
        began_s = time.monotonic()
    took_s = time.monotonic() - began_s
    hang[0] = False
    assert took_s < 10
    sink.before = lambda _: None
    deliver(settings, sink, 100)
    assert delivered(sink) == records_on_topic(settings)


def test_the_metrics_have_rows_chunks_retries_rejects_and_lag(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(100)
    event_store.append_values(b"text")
    sink = FailingSink()
    sink.before = lambda _: Unavailable("away") if len(sink.asked) == 1 else None
    with Running(settings, sink) as running:

        def text() -> str:
            return running.metrics.text().decode()

        wait_for(lambda: "avila_sink_rows_total 100.0" in text())
        wait_for(lambda: 'avila_sink_lag_offsets{partition="0"} 0.0' in text())
        assert "avila_sink_retries_total 1.0" in text()
        assert 'avila_sink_rejected_total{reason="not_wire_format"} 1.0' in text()
        assert 'avila_sink_chunks_total{kind="fresh"}' in text()
