"""A group that Kafka has forgotten costs nothing: what the sink has says where to continue."""

import time
from typing import Literal

import pyarrow as pa
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import Misconfigured
from schemas.settings import Settings
from sinks.memory import MemorySink
from tests.kafka import TIMEOUT_S
from tests.sinks.deliveries import GROUP, Running, wait_for
from tests.sinks.events import EventStore, batch, event
from tests.sinks.tables import records_on_topic
from tests.sinks.test_delivery import delivered

COUNT = 2_000
CHUNK_ROWS = 100


@pytest.fixture
def event_store(settings: Settings) -> EventStore:
    return EventStore(settings)


def forget_group(settings: Settings) -> None:
    """Delete the group, as Kafka does a week after its last member has left."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        (answer,) = admin.delete_consumer_groups([GROUP]).values()
        try:
            answer.result()
        except KafkaException:  # its last member is about to leave
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def deliver(settings: Settings, sink: MemorySink, rows: int) -> None:
    with Running(settings, sink, chunk_rows=CHUNK_ROWS):
        wait_for(lambda: len(sink.rows) >= rows, f"the delivery of {rows} rows")


def test_after_its_group_is_forgotten_a_sink_goes_on_where_it_was(
    settings: Settings, event_store: EventStore
) -> None:
    sink = MemorySink()
    event_store.append(COUNT)
    deliver(settings, sink, COUNT)
    forget_group(settings)
    event_store.append(500)
    deliver(settings, sink, COUNT + 500)
    assert delivered(sink) == records_on_topic(settings)


def test_a_chunk_that_was_unfinished_when_its_group_was_forgotten_is_completed(
    settings: Settings, event_store: EventStore
) -> None:
    sink = MemorySink()
    event_store.append(COUNT)
    deliver(settings, sink, COUNT)
    lost = 0
    for partition in range(settings.partitions):
        tail = sorted(sink.stored(partition, CHUNK_ROWS))
        gone = set(tail[10:90:3])
        lost += len(gone)
        for name, rows in sink._batches.items():
            own = [
                one["_partition"] != partition or one["_offset"] not in gone
                for one in rows.to_pylist()
            ]
            sink._batches[name] = rows.filter(pa.array(own, pa.bool_()))
    assert len(sink.rows) == COUNT - lost
    forget_group(settings)
    deliver(settings, sink, COUNT)
    assert delivered(sink) == records_on_topic(settings)


def of_another_kafka(settings: Settings) -> MemorySink:
    sink = MemorySink()
    for partition in range(settings.partitions):
        strangers = [event(number) | {"distinct_id": "a stranger"} for number in range(50)]
        sink.write(batch(strangers, partition=partition))
    return sink


def test_a_store_with_the_events_of_another_kafka_is_refused(
    settings: Settings, event_store: EventStore
) -> None:
    event_store.append(COUNT)
    with Running(settings, of_another_kafka(settings)) as running:
        running.join()
        assert isinstance(running.failure, Misconfigured)
        assert "AVILA_MISSING_OFFSETS" in str(running.failure)
        running.forget_failure()


def test_a_store_that_has_more_than_the_topic_is_refused(settings: Settings) -> None:
    with Running(settings, of_another_kafka(settings)) as running:
        running.join()
        assert isinstance(running.failure, Misconfigured)
        running.forget_failure()


@pytest.mark.parametrize(("decision", "more"), [("beginning", COUNT), ("end", 0)])
def test_the_user_decides_where_events_of_another_kafka_begin(
    settings: Settings,
    event_store: EventStore,
    decision: Literal["beginning", "end"],
    more: int,
) -> None:
    event_store.append(COUNT)
    sink = of_another_kafka(settings)
    before = len(sink.rows)
    with Running(settings, sink, missing_offsets=decision) as running:
        wait_for(
            lambda: (
                running.metrics.text().count(b"\navila_sink_lag_offsets{") == settings.partitions
            )
        )
        wait_for(lambda: len(sink.rows) >= before + more)
        event_store.append(10, abort_every=0)
        wait_for(lambda: len(sink.rows) == before + more + 10)
