"""What is committed is there, once; what is not, is not; and who was fenced is told."""

import uuid

import pytest
from confluent_kafka import KafkaException

from pipelines.batch import Outgoing
from pipelines.transactions import FENCED, Transactions
from schemas.settings import Settings
from tests.kafka import read_all


def begun(settings: Settings, name: str) -> Transactions:
    return Transactions(settings.bootstrap, name, "test", timeout_ms=30_000)


def test_only_what_is_committed_counts(settings: Settings) -> None:
    topic = settings.topics.rejected.name
    transactions = begun(settings, uuid.uuid4().hex)

    def write(*values: bytes) -> None:
        transactions.write([Outgoing(topic, 0, [b"key"] * len(values), values)])

    write(b"one")
    write(b"two", b"three")
    states = [(transactions.open, transactions.unsettled)]
    transactions.commit([], None)
    states.append((transactions.open, transactions.unsettled))
    transactions.settle()
    states.append((transactions.open, transactions.unsettled))
    assert states == [(True, False), (False, True), (False, False)]
    write(b"given up")
    transactions.begin_anew()
    write(b"four")
    transactions.commit([], None)
    transactions.settle()
    values = [message.value() for message in read_all(settings.bootstrap, topic)]
    assert values == [b"one", b"two", b"three", b"four"]


def test_nothing_is_begun_for_nothing(settings: Settings) -> None:
    transactions = begun(settings, uuid.uuid4().hex)
    transactions.write([])
    assert not transactions.open
    transactions.settle()


def test_who_was_fenced_is_told(settings: Settings) -> None:
    topic, name = settings.topics.rejected.name, uuid.uuid4().hex
    first = begun(settings, name)
    first.write([Outgoing(topic, 0, [b"key"], [b"first"])])
    second = begun(settings, name)
    first.commit([], None)
    with pytest.raises(KafkaException) as raised:
        first.settle()
    assert raised.value.args[0].code() in FENCED
    second.write([Outgoing(topic, 0, [b"key"], [b"second"])])
    second.commit([], None)
    second.settle()
    values = [message.value() for message in read_all(settings.bootstrap, topic)]
    assert values == [b"second"]
