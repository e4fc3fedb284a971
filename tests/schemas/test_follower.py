import time
from collections.abc import Callable

import pytest
from confluent_kafka import Message, Producer

from schemas.errors import Misconfigured
from schemas.follower import Partition, TopicReader
from services.broker import Broker
from tests.kafka import EphemeralTopic, Record

TIMEOUT_S = 120.0


def read_until(
    follower: TopicReader, done: Callable[[list[Message]], bool], poll_s: float = 0.1
) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + TIMEOUT_S
    while not done(messages):
        assert time.monotonic() < deadline, f"only {len(messages)} records"
        messages += follower.poll(poll_s)
    return messages


def transactional(bootstrap: str, name: str) -> Producer:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "log_level": 0})
    producer.init_transactions(TIMEOUT_S)
    return producer


def test_it_reads_all_partitions_from_the_beginning(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap, partitions=3) as topic:
        topic.produce(*(Record(b"%d" % i, partition=i % 3) for i in range(9)))
        with TopicReader(broker.bootstrap, [topic.name]) as follower:
            assert not follower.caught_up
            messages = read_until(follower, lambda _: follower.caught_up)
            assert {message.value() for message in messages} == {b"%d" % i for i in range(9)}
            assert follower.positions == {Partition(topic.name, i): 3 for i in range(3)}
            assert follower.lag() == 0


def test_topics_that_are_empty_are_caught_up_with(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap) as one,
        EphemeralTopic(broker.bootstrap) as other,
        TopicReader(broker.bootstrap, [one.name, other.name]) as follower,
    ):
        assert read_until(follower, lambda _: follower.caught_up) == []


def test_a_reader_that_waits_for_nothing_reads_all_the_same(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap) as topic,
        TopicReader(broker.bootstrap, [topic.name]) as follower,
    ):
        topic.produce(Record(b"one"))
        assert read_until(follower, lambda found: len(found) == 1, poll_s=0.0)


def test_records_that_come_later_are_returned_too(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap) as topic,
        TopicReader(broker.bootstrap, [topic.name]) as follower,
    ):
        read_until(follower, lambda _: follower.caught_up)
        topic.produce(b"later")
        (message,) = read_until(follower, bool)
        assert message.value() == b"later"
        assert follower.caught_up


def test_only_committed_records_are_seen_and_markers_do_not_hide_the_end(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap) as topic:
        producer = transactional(broker.bootstrap, topic.name)
        for value, end in (
            (b"kept", producer.commit_transaction),
            (b"aborted", producer.abort_transaction),
        ):
            producer.begin_transaction()
            producer.produce(topic.name, value)
            producer.flush(TIMEOUT_S)  # else the aborted one is never sent
            end(TIMEOUT_S)
        transactional(broker.bootstrap, topic.name)  # returns when the last marker stands
        with TopicReader(broker.bootstrap, [topic.name]) as follower:
            messages = read_until(follower, lambda _: follower.caught_up)
            assert [message.value() for message in messages] == [b"kept"]
            assert follower.positions == {Partition(topic.name, 0): 4}


def test_an_open_transaction_does_not_keep_it_from_catching_up(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap) as topic:
        topic.produce(b"before")
        producer = transactional(broker.bootstrap, topic.name)
        producer.begin_transaction()
        producer.produce(topic.name, b"open")
        producer.flush(TIMEOUT_S)
        with TopicReader(broker.bootstrap, [topic.name]) as follower:
            messages = read_until(follower, lambda _: follower.caught_up)
            assert [message.value() for message in messages] == [b"before"]
            producer.commit_transaction(TIMEOUT_S)
            assert [message.value() for message in read_until(follower, bool)] == [b"open"]


def test_a_topic_that_does_not_exist_is_refused(broker: Broker) -> None:
    with (
        TopicReader(broker.bootstrap, ["no-such-topic"]) as follower,
        pytest.raises(Misconfigured, match="no-such-topic"),
    ):
        read_until(follower, lambda _: follower.caught_up)
