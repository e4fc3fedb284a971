"""Records in columns reach the broker unchanged and in order, and each one is reported."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from pipelines.kafka.bulk_producer import BulkProducer, RecordColumns
from services.broker import Broker
from tests.kafka import EphemeralTopic
from tests.services.ingest.conftest import eventually

Pair = tuple[bytes, bytes]
PAIRS = st.tuples(st.binary(min_size=1, max_size=4), st.binary(max_size=4))


def records(*pairs: Pair | None) -> RecordColumns:
    nowhere = np.zeros(len(pairs), np.int64)
    return RecordColumns(np.empty(0, np.uint8), nowhere, nowhere, nowhere).completed(
        dict(enumerate(pairs))
    )


def pairs_of(some: RecordColumns) -> list[Pair]:
    data, *places = some
    return [
        (bytes(data[begin:split]), bytes(data[split:end]))
        for begin, split, end in zip(*places, strict=True)
    ]


@contextmanager
def producer(broker: Broker, topic: str, **config: object) -> Iterator[BulkProducer]:
    opened = BulkProducer({"bootstrap.servers": broker.bootstrap} | config, topic)
    try:
        yield opened
    finally:
        opened.close()


def reported(producer: BulkProducer) -> dict[int, int]:
    """Wait until nothing is on its way any more; the code of each tag."""
    codes: dict[int, int] = {}
    while len(producer):
        reports = producer.poll(500)
        codes |= dict(zip(reports.tags.tolist(), reports.codes.tolist(), strict=True))
    return codes


@given(st.lists(st.tuples(PAIRS, st.none() | PAIRS, st.booleans()), max_size=6))
def test_other_records_replace_those_of_their_rows(
    given_: list[tuple[Pair, Pair | None, bool]],
) -> None:
    base = records(*(pair for pair, _, _ in given_))
    others = {i: other for i, (_, other, is_used) in enumerate(given_) if is_used}

    completed = base.completed(others)

    expected = [others.get(i, pair) for i, (pair, _, _) in enumerate(given_)]
    assert pairs_of(completed) == [pair for pair in expected if pair is not None]
    assert pairs_of(base) == [pair for pair, _, _ in given_]


def test_all_records_arrive_in_order_and_are_reported_by_tag(broker: Broker) -> None:
    sent = [(b"key%d" % (i % 3), b"value %d" % i) for i in range(2_000)]
    tags = np.arange(2_000, dtype=np.int64) - 7 << 40
    with (
        EphemeralTopic(broker.bootstrap, partitions=2) as topic,
        producer(broker, topic.name) as opened,
    ):
        eventually(lambda: opened.is_ready(1_000))
        for begin in range(0, 2_000, 500):
            refused = opened.produce(records(*sent[begin : begin + 500]), tags[begin : begin + 500])
            assert not len(refused.tags)
        codes = reported(opened)
        arrived = [(message.key(), message.value()) for message in topic.read_all()]

    assert codes == dict.fromkeys(tags.tolist(), 0)
    for key in (b"key0", b"key1", b"key2"):
        assert [pair for pair in arrived if pair[0] == key] == [
            pair for pair in sent if pair[0] == key
        ]


def test_a_record_that_is_too_large_is_refused_alone(broker: Broker) -> None:
    with (
        EphemeralTopic(broker.bootstrap) as topic,
        producer(broker, topic.name, **{"message.max.bytes": 2_000}) as opened,
    ):
        some = records((b"a", b"1"), (b"b", b"2" * 3_000), (b"c", b"3"))
        refused = opened.produce(some, np.array([4, 5, 6]))
        codes = reported(opened)

    assert (refused.tags.tolist(), refused.codes.tolist()) == ([5], [KafkaError.MSG_SIZE_TOO_LARGE])
    assert codes == {4: 0, 6: 0}


def test_a_record_that_cannot_be_delivered_is_reported_with_the_reason(broker: Broker) -> None:
    with producer(broker, "no-such-topic", **{"message.timeout.ms": 500}) as opened:
        assert not opened.is_ready(1_000)
        refused = opened.produce(records((b"a", b"1")), np.array([8]))
        codes = reported(opened)

    assert not len(refused.tags)
    assert codes.keys() == {8}
    assert codes[8] in {
        KafkaError._MSG_TIMED_OUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
    }


def test_an_unknown_property_is_named() -> None:
    with pytest.raises(KafkaException, match="no\\.such\\.property"):
        BulkProducer({"no.such.property": 1}, "topic")


def test_a_closed_producer_raises(broker: Broker) -> None:
    with producer(broker, "topic") as opened:
        opened.close()

        assert (len(opened), opened.is_ready(1)) == (0, False)
        with pytest.raises(ValueError, match="closed"):
            opened.produce(records((b"a", b"1")), np.array([1]))
