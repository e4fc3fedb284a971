"""Committed records are read once, others never, and a fenced producer learns that it is."""

import time
import uuid

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException

from pipelines.kafka import librdkafka as c
from pipelines.kafka import transactional_producer
from pipelines.kafka.records import Headers, Outbox, Outgoing
from pipelines.kafka.transactions import FENCED, Transactions
from schemas.settings import Settings
from tests.conftest import free_ports
from tests.kafka import read_all


def sent(topic: str, *values: bytes) -> list[Outgoing]:
    outbox = Outbox()
    outbox.send(topic, [b"key"] * len(values), values, partition=0)
    return outbox.take()


def begun(settings: Settings, name: str) -> Transactions:
    return Transactions(settings.bootstrap, name, "test", timeout_ms=30_000)


def test_only_committed_records_are_read(settings: Settings) -> None:
    topic = settings.topics.rejected.name
    transactions = begun(settings, uuid.uuid4().hex)

    def write(*values: bytes) -> None:
        transactions.write(sent(topic, *values))

    write(b"one")
    write(b"two", b"three")
    states = [(transactions.open, transactions.unsettled)]
    transactions.commit([], b"")
    states.append((transactions.open, transactions.unsettled))
    transactions.settle()
    states.append((transactions.open, transactions.unsettled))
    assert states == [(True, False), (False, True), (False, False)]
    write(b"given up")
    transactions.replace_producer()
    write(b"four")
    transactions.commit([], b"")
    transactions.settle()
    values = [message.value() for message in read_all(settings.bootstrap, topic)]
    assert values == [b"one", b"two", b"three", b"four"]


def test_writing_nothing_begins_no_transaction(settings: Settings) -> None:
    transactions = begun(settings, uuid.uuid4().hex)
    transactions.write([])
    assert not transactions.open
    transactions.settle()


def test_a_fenced_producer_learns_it_from_its_commit(settings: Settings) -> None:
    topic, name = settings.topics.rejected.name, uuid.uuid4().hex
    first = begun(settings, name)
    first.write(sent(topic, b"first"))
    second = begun(settings, name)
    first.commit([], b"")
    with pytest.raises(KafkaException) as raised:
        first.settle()
    assert raised.value.args[0].code() in FENCED
    second.write(sent(topic, b"second"))
    second.commit([], b"")
    second.settle()
    values = [message.value() for message in read_all(settings.bootstrap, topic)]
    assert values == [b"second"]


def test_records_are_written_as_they_are_in_the_columns(settings: Settings) -> None:
    topic = settings.topics.rejected.name
    keys = pa.array([b"left out", None, b"", b"k", b"key", b"tombstone"], pa.binary())[1:]
    values = pa.array([b"left out", b"one", b"two", b"", b"\0three", None], pa.binary())[1:]
    headers: Headers = [
        ("reason", "why \N{SNOWMAN}"),
        ("raw", b"\0\xff"),
        ("raw", b""),
        ("none", None),
    ]
    outbox = Outbox()
    outbox.send(topic, keys, values, partition=0)
    outbox.send(topic, [b"with", None], [b"headers", None], partition=0, headers=[headers, []])
    outbox.send(topic, pa.array([b""], pa.binary()), pa.array([b""], pa.binary()), partition=0)
    transactions = begun(settings, uuid.uuid4().hex)
    transactions.write(outbox.take())
    transactions.commit([], b"")
    transactions.settle()
    read = read_all(settings.bootstrap, topic)
    assert [(message.key(), message.value()) for message in read] == [
        *zip(keys.to_pylist(), values.to_pylist(), strict=True),
        (b"with", b"headers"),
        (None, None),
        (b"", b""),
    ]
    assert [message.headers() for message in read[5:7]] == [
        [(name, v.encode() if isinstance(v, str) else v) for name, v in headers],
        None,
    ]


def test_more_records_than_the_queue_holds_keep_their_order(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactional_producer, "_QUEUED_BYTES", 500)
    topic = settings.topics.rejected.name
    values = [b"%d" % number for number in range(1_000)]
    transactions = begun(settings, uuid.uuid4().hex)
    transactions.write(sent(topic, *values[:300]))
    transactions.write(sent(topic, *values[300:]))
    transactions.commit([], b"")
    transactions.settle()
    assert [message.value() for message in read_all(settings.bootstrap, topic)] == values


def test_an_unread_error_does_not_block_a_full_queue() -> None:
    heard: list[KafkaError] = []
    (port,) = free_ports(1)  # where nobody answers: that is told by events, which count as queued
    config = {"bootstrap.servers": f"127.0.0.1:{port}", "transactional.id": "t", "log_level": 0}
    producer = transactional_producer.TransactionalProducer(config, heard.append)
    deadline = time.monotonic() + 120
    while not c.outq_len(producer._kafka):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    producer._wait_until_empty()
    assert heard


def test_a_record_that_is_too_large_is_refused_at_once(settings: Settings) -> None:
    transactions = begun(settings, uuid.uuid4().hex)
    with pytest.raises(KafkaException) as raised:
        transactions.write(sent(settings.topics.rejected.name, b"one", bytes(5_000_000)))
    assert raised.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_a_null_has_no_length_whatever_its_bytes() -> None:
    offsets, data = pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"abcd")
    column = pa.Array.from_buffers(pa.binary(), 2, [pa.py_buffer(b"\1"), offsets, data])
    places, sizes = transactional_producer._spans(column)
    assert (places[1], sizes.tolist()) == (0, [2, 0])
