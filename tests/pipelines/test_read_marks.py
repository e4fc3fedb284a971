"""A worker says up to when a partition is read only if nothing of it is left, on a real broker."""

import time
from collections.abc import Mapping

import pytest
from confluent_kafka import Producer

from pipelines.engine.read_marks import ReadMarks
from pipelines.kafka.records import TopicPartition
from schemas.cluster import client_config
from schemas.settings import Settings
from tests.events import await_equal
from tests.kafka import Record, produce


def found(settings: Settings, committed: Mapping[str, int]) -> dict[int, int]:
    """The moments of partition 0, for a worker that has committed these offsets of topics."""
    topics = settings.topics
    marks = ReadMarks(settings.cluster, topics.inbox.name, topics.events.name)
    marks.ask([0], {TopicPartition(topic, 0): offset for topic, offset in committed.items()})
    if marks._asked is not None:
        marks._asked.result(120)
    moments = marks.take()
    assert marks.take() == {}
    return moments


def write_in_a_transaction(settings: Settings, topic: str) -> None:
    """Write a record, which the marker of its transaction follows."""
    config = client_config(settings.cluster, {"transactional.id": f"{topic}-test"})
    producer = Producer(config)
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"an event", partition=0)
    producer.commit_transaction(60)


@pytest.fixture
def inbox(settings: Settings) -> str:
    return settings.topics.inbox.name


@pytest.fixture
def events(settings: Settings) -> str:
    return settings.topics.events.name


def test_the_moment_is_from_before_the_ends_were_asked_for(
    settings: Settings, inbox: str, events: str
) -> None:
    read = {inbox: 0, events: 0}
    await_equal(True, lambda: bool(found(settings, read)))  # topics that were made just now
    before = time.time_ns() // 1_000_000
    (moment,) = found(settings, read).values()
    assert before <= moment <= time.time_ns() // 1_000_000


def test_a_record_that_is_left_in_the_inbox_or_the_event_store_keeps_the_worker_silent(
    settings: Settings, inbox: str, events: str
) -> None:
    await_equal(True, lambda: bool(found(settings, {inbox: 0, events: 0})))
    produce(settings.cluster, inbox, [Record(b"an event", b"key", 0)])
    assert found(settings, {inbox: 0, events: 0}) == {}
    assert found(settings, {inbox: 1, events: 0})
    write_in_a_transaction(settings, events)
    assert found(settings, {inbox: 1, events: 0}) == {}
    assert found(settings, {inbox: 1, events: 1})  # only the marker is left
    assert found(settings, {inbox: 1, events: 2})


def test_a_worker_that_does_not_have_the_inbox_says_nothing(
    settings: Settings, events: str
) -> None:
    assert found(settings, {events: 0}) == {}
