"""A record that its topic does not take costs itself, and never the transaction."""

import uuid

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from structlog.testing import capture_logs

from pipelines.kafka.records import Headers, Outbox
from pipelines.kafka.topic_limits import _OVERHEAD_BYTES, TopicLimits
from pipelines.kafka.transactions import TOO_LARGE, Transactions
from schemas.errors import Misconfigured
from schemas.settings import Settings
from schemas.topic import MAX_MESSAGE_BYTES
from tests.events import await_equal
from tests.kafka import read_all
from tests.workers import WorkerProcess


def limit_topic(settings: Settings, topic: str, max_bytes: int) -> None:
    """Change how large the batches may be that a topic takes."""
    entry = ConfigEntry(
        "max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result()
    # A broker learns of it from its controller.
    await_equal(max_bytes, lambda: TopicLimits(settings.bootstrap).of(topic) + _OVERHEAD_BYTES)


def commit(transactions: Transactions, outbox: Outbox) -> None:
    transactions.write(outbox.take())
    transactions.commit([], b"")
    transactions.settle()


def values(settings: Settings, topic: str) -> list[bytes | None]:
    return [message.value() for message in read_all(settings.bootstrap, topic)]


@pytest.fixture
def transactions(settings: Settings) -> Transactions:
    return Transactions(settings.bootstrap, uuid.uuid4().hex, "test", timeout_ms=30_000)


def test_a_record_larger_than_the_producer_takes_is_refused_alone(
    settings: Settings, transactions: Transactions
) -> None:
    topic = settings.topics.rejected.name
    outbox = Outbox(TopicLimits(settings.bootstrap))
    large = b"x" * 4_000_000
    with capture_logs() as logs:
        refused = outbox.send(topic, [b"a", b"b", b"c"], [b"1", large, b"3"], partition=0)
    assert [one.row for one in refused] == [1]
    assert str(refused[0]) == (
        f"a record of 4000001 bytes cannot be written; accepted are {refused[0].limit}"
    )
    assert [(line["event"], line["topic"], line["key"]) for line in logs] == [
        ("record not written", topic, b"b")
    ]
    commit(transactions, outbox)
    assert values(settings, topic) == [b"1", b"3"]


def test_headers_count_for_the_size_of_a_record(
    settings: Settings, transactions: Transactions
) -> None:
    topic = settings.topics.rejected.name
    outbox = Outbox(TopicLimits(settings.bootstrap))
    headers: list[Headers] = [[("small", b"1")], [("large", b"x" * 4_000_000)]]
    refused = outbox.send(topic, [b"a", b"b"], [b"1", b"2"], partition=0, headers=headers)
    assert [one.row for one in refused] == [1]
    commit(transactions, outbox)
    (message,) = read_all(settings.bootstrap, topic)
    assert (message.value(), message.headers()) == (b"1", [("small", b"1")])


def test_a_record_within_the_limit_of_its_topic_is_written(
    settings: Settings, transactions: Transactions
) -> None:
    topic = settings.topics.rejected.name
    limit_topic(settings, topic, 2_000_000)
    outbox = Outbox(TopicLimits(settings.bootstrap))
    fits, too_large = b"x" * 1_990_000, b"x" * 2_000_000
    refused = outbox.send(topic, [None, None], [fits, too_large], partition=0)
    assert [one.row for one in refused] == [1]
    commit(transactions, outbox)
    assert values(settings, topic) == [fits]


def test_a_topic_with_a_low_limit_costs_one_transaction_and_then_its_large_records(
    settings: Settings, transactions: Transactions
) -> None:
    topic = settings.topics.rejected.name
    limit_topic(settings, topic, 100_000)
    outbox = Outbox(TopicLimits(settings.bootstrap))
    # What would not become smaller by compression.
    small = [uuid.uuid4().bytes * 600 for _ in range(40)]
    records = [*small, bytes(uuid.uuid4().bytes[0] for _ in range(150_000))]
    outbox.send(topic, [None] * len(records), records, partition=0)
    with pytest.raises(KafkaException) as raised:
        commit(transactions, outbox)
    assert raised.value.args[0].code() == TOO_LARGE
    # As an epoch that starts over does.
    outbox.check_all()
    transactions.use_small_batches()
    transactions.replace_producer()
    refused = outbox.send(topic, [None] * len(records), records, partition=0)
    assert [one.row for one in refused] == [len(small)]
    commit(transactions, outbox)
    assert values(settings, topic) == small


def test_a_topic_that_takes_too_little_is_named_before_anything_is_written(
    settings: Settings,
) -> None:
    topics = settings.topics
    limits = TopicLimits(settings.bootstrap)
    limits.check(topics)
    limit_topic(settings, topics.person_state.name, MAX_MESSAGE_BYTES - 1)
    limits.refresh()
    with pytest.raises(Misconfigured, match=r"set its max\.message\.bytes to 1048588") as refused:
        limits.check(topics)
    assert topics.person_state.name in str(refused.value)
    assert topics.events.name not in str(refused.value)


def test_a_worker_does_not_start_on_a_topic_that_takes_too_little(settings: Settings) -> None:
    topic = settings.topics.person_state.name
    limit_topic(settings, topic, 500_000)
    with WorkerProcess(settings) as worker:
        assert worker.process.wait(60) != 0
        assert f"topic {topic} takes batches of 500000 bytes" in worker.output
