"""Topics are created as declared, once; an existing topic that differs is always reported."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import Settings
from schemas.topics import FOREVER, Topic
from services.broker import Broker
from services.topic_config import TopicState, corrections
from services.topics import describe_topics, ensure_topics
from tests.conftest import PARTITIONS, free_ports
from tests.events import await_equal
from tests.kafka import (
    EphemeralTopic,
    Record,
    alter_topic,
    delete_topics,
    produce,
    read_all,
)


def test_every_declared_topic_exists_as_declared(settings: Settings) -> None:
    states = {state.name: state for state in describe_topics(settings.bootstrap, settings.topics)}
    for topic in settings.topics:
        state = states[topic.name]
        assert state.partitions == (topic.partitions or PARTITIONS)
        assert state.cleanup == topic.cleanup
        if topic.cleanup == "delete":
            assert state.retention_ms == topic.retention_ms
        assert not corrections(topic, state)


def test_topics_are_created_once(settings: Settings) -> None:
    again = ensure_topics(
        settings.bootstrap, settings.topics, partitions=PARTITIONS, replication_factor=1
    )
    assert again == []


def test_processes_that_race_create_each_topic_once(broker: Broker) -> None:
    topics = [Topic(f"t{uuid4().hex[:8]}", "compact") for _ in range(5)]
    names = [topic.name for topic in topics]

    def ensure(_: int) -> list[str]:
        return ensure_topics(broker.bootstrap, topics, partitions=1, replication_factor=1)

    try:
        with ThreadPoolExecutor(3) as pool:
            created = [name for answer in pool.map(ensure, range(3)) for name in answer]
        assert sorted(created) == sorted(names)
    finally:
        delete_topics(broker.bootstrap, names)


def test_every_mismatch_is_reported_at_once(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap, partitions=3) as wide,
        EphemeralTopic(broker.bootstrap) as kept,
        EphemeralTopic(broker.bootstrap) as compacted,
    ):
        declared = [
            Topic(wide.name, "delete", 604_800_000),
            Topic(kept.name, "delete", 1_000, partitions=1),
            Topic(compacted.name, "compact", partitions=1, max_message_bytes=5_000_000),
        ]
        with pytest.raises(Misconfigured) as refused:
            ensure_topics(broker.bootstrap, declared, partitions=2, replication_factor=1)
    text = str(refused.value)
    assert f"{wide.name} has 3 partitions, 2 are declared: set AVILA_PARTITIONS=3" in text
    assert f"{kept.name} has retention.ms=604800000, 1000 is declared" in text
    assert f"{compacted.name} has cleanup.policy=delete, compact is declared" in text
    assert f"{compacted.name} has max.message.bytes=4194304, at least 5000000 are declared" in text


def test_a_mismatch_does_not_keep_the_other_topics_from_being_created(broker: Broker) -> None:
    new = Topic(f"t{uuid4().hex[:8]}", "compact", partitions=1)
    try:
        with EphemeralTopic(broker.bootstrap) as other:
            declared = [Topic(other.name, "compact"), new]
            with pytest.raises(Misconfigured, match=other.name):
                ensure_topics(broker.bootstrap, declared, partitions=1, replication_factor=1)
        assert [state.name for state in describe_topics(broker.bootstrap, [new])] == [new.name]
    finally:
        delete_topics(broker.bootstrap, [new.name])


def test_a_topic_that_does_not_exist_is_not_described(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap, partitions=2) as there:
        by_default = {"message.timestamp.type": "CreateTime", "retention.bytes": "-1"}
        asked = [Topic("not-there", "compact"), Topic(there.name, "compact")]
        await_equal(  # a broker knows a new topic a moment after it has made it
            [TopicState(there.name, 2, "delete", 604_800_000, 4_194_304, by_default)],
            lambda: describe_topics(broker.bootstrap, asked),
        )


def test_no_topic_deletes_a_record_by_the_time_that_its_producer_gave_it(
    settings: Settings,
) -> None:
    """What expires does so by the time at which Kafka took it; the rest does not expire."""
    states = {state.name: state for state in describe_topics(settings.bootstrap, settings.topics)}
    long_ago = [Record(b"{}", b"default:ada", timestamp_ms=1)]
    for topic in settings.topics:
        state = states[topic.name]
        if state.cleanup == "compact":
            continue
        assert state.cleanup == "delete"
        assert state.others["retention.bytes"] == "-1", topic.name
        produce(settings.cluster, topic.name, long_ago)
        message = read_all(settings.cluster, topic.name)[-1]
        kind, at_ms = message.timestamp()
        if state.retention_ms == FOREVER:
            assert at_ms == 1
        else:
            assert kind == TIMESTAMP_LOG_APPEND_TIME, topic.name
            assert abs(at_ms - time.time() * 1000) < 60_000


def test_a_topic_of_an_earlier_version_keeps_its_records_from_now_on(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap) as old:
        declared = [Topic(old.name, "delete", 604_800_000)]
        assert ensure_topics(broker.bootstrap, declared, partitions=1, replication_factor=1) == []
        (state,) = describe_topics(broker.bootstrap, declared)
        assert state.others["message.timestamp.type"] == "LogAppendTime"


def test_the_event_store_is_not_deleted_by_the_size_that_a_cluster_has_by_default(
    broker: Broker,
) -> None:
    with EphemeralTopic(broker.bootstrap) as store:
        declared = [Topic(store.name, "delete", FOREVER)]
        config = {"retention.bytes": "1000000", "retention.ms": "-1"}
        alter_topic(broker.bootstrap, store.name, config)
        ensure_topics(broker.bootstrap, declared, partitions=1, replication_factor=1)
        (state,) = describe_topics(broker.bootstrap, declared)
        assert state.others == {"message.timestamp.type": "CreateTime", "retention.bytes": "-1"}


def test_more_replicas_than_brokers_are_refused_with_the_setting(broker: Broker) -> None:
    topic = Topic(f"t{uuid4().hex[:8]}", "compact")
    with pytest.raises(Misconfigured, match=rf"{topic.name}.*AVILA_REPLICATION_FACTOR"):
        ensure_topics(broker.bootstrap, [topic], partitions=1, replication_factor=3)


def test_a_broker_that_does_not_answer_is_named_in_time() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match=rf"{port}.*AVILA_KAFKA_BOOTSTRAP"):
        describe_topics(f"127.0.0.1:{port}", [Topic("any", "compact")], timeout_s=0.5)
