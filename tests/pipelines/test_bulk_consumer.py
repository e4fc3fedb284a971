"""Records that are fetched in bulk are those that the broker has, whatever they hold."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.kafka import abi_check, fetched
from pipelines.kafka import librdkafka as c
from pipelines.kafka.bulk_consumer import BulkConsumer
from pipelines.kafka.consumers import ColumnConsumer, MessageConsumer, open_consumer
from pipelines.kafka.fetched import FetchError
from pipelines.kafka.header_column import HeaderColumn
from pipelines.kafka.records import Headers, Records
from services.broker import Broker
from tests.kafka import FETCH_WAIT_MS, TIMEOUT_S, EphemeralTopic, Record

END_OF_PARTITION = KafkaError._PARTITION_EOF
OFFSET_IS_GONE = KafkaError._AUTO_OFFSET_RESET
KINDS: list[type[ColumnConsumer]] = [BulkConsumer, MessageConsumer]

# Retention deletes records of long ago, and the broker refuses those of the future.
NOW_MS = time.time_ns() // 1_000_000
BYTES = st.none() | st.binary(max_size=6)
HEADERS = st.lists(st.tuples(st.text(max_size=3), BYTES), max_size=3).map(tuple)
RECORDS = st.builds(
    Record,
    BYTES,
    BYTES,
    st.integers(0, 1),
    HEADERS.map(lambda headers: tuple((name.replace("\0", ""), v) for name, v in headers)),
    st.integers(NOW_MS - 3_600_000, NOW_MS),
)


class Read(NamedTuple):
    """One record as it was fetched."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@pytest.fixture(scope="module")
def topic(broker: Broker) -> Iterator[EphemeralTopic]:
    with EphemeralTopic(broker.bootstrap, partitions=2) as topic:
        yield topic


@contextmanager
def consumer(
    topic: EphemeralTopic, kind: type[ColumnConsumer] = BulkConsumer, **own: object
) -> Iterator[ColumnConsumer]:
    """Open a consumer without an assignment."""
    config = {
        "bootstrap.servers": str(topic.cluster),
        "group.id": f"readers-of-{topic.name}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "partition.assignment.strategy": "cooperative-sticky",
        **own,
    }
    opened = kind(config, lambda _: None)
    try:
        yield opened
    finally:
        opened.close()


def ends(reader: ColumnConsumer, topic: EphemeralTopic) -> list[int]:
    """Return where the next record of each partition will be."""
    partitions = [KafkaPartition(topic.name, number) for number in range(2)]
    return [reader.get_watermark_offsets(one, timeout=TIMEOUT_S)[1] for one in partitions]


def read_first_error(reader: ColumnConsumer, topic: EphemeralTopic, begin: int) -> FetchError:
    """Read partition 1 up to an error."""
    reader.assign([KafkaPartition(topic.name, 1, begin)])
    while True:
        assert reader.wait(TIMEOUT_S)
        if errors := reader.fetch(100).errors:
            return errors[0]


def read_from(reader: ColumnConsumer, topic: EphemeralTopic, begins: list[int]) -> list[Records]:
    """Read both partitions until they have reported their ends."""
    reader.assign([KafkaPartition(topic.name, *begin) for begin in enumerate(begins)])
    batches: list[Records] = []
    ended: set[int] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while len(ended) < len(begins):
        assert time.monotonic() < deadline
        if reader.wait(0.1):
            records, errors = reader.fetch(100)
            batches += records
            assert {failed.error.code() for failed in errors} <= {END_OF_PARTITION}
            ended |= {failed.source.partition for failed in errors}
    return batches


def poll_until(reader: ColumnConsumer, is_done: Callable[[], object]) -> None:
    """Poll until something has happened."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_done():
        assert time.monotonic() < deadline
        reader.wait(0.1)


def rows_of(batches: Sequence[Records]) -> list[Read]:
    return sorted(
        (
            Read(
                records.source.partition,
                int(records.offsets[row]),
                int(records.timestamps[row]),
                records.keys[row],
                records.values[row],
                records.headers(row),
            )
            for records in batches
            for row in range(len(records))
        ),
        key=lambda read: read[:2],
    )


@settings(max_examples=25)
@given(st.lists(RECORDS, max_size=12))
@example([Record(None, None, 0, (), NOW_MS), Record(b"", b"", 0, (("", b""), ("n", None)), NOW_MS)])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_hold_what_was_produced(
    topic: EphemeralTopic, kind: type[ColumnConsumer], sent: list[Record]
) -> None:
    with consumer(topic, kind) as reader:
        begins = ends(reader, topic)
        topic.produce(*sent)
        batches = read_from(reader, topic, begins)
    assert rows_of(batches) == [
        Read(number, offset, record.timestamp_ms, record.key, record.value, list(record.headers))
        for number, begin in enumerate(begins)
        for offset, record in enumerate((r for r in sent if r.partition == number), begin)
    ]
    for records in batches:
        assert records.source.topic == topic.name
        assert records.next_offset == records.offsets[-1] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_aborted_and_the_markers_of_transactions_are_left_out(
    topic: EphemeralTopic, kind: type[ColumnConsumer]
) -> None:
    writer = Producer({"bootstrap.servers": str(topic.cluster), "transactional.id": topic.name})
    writer.init_transactions(TIMEOUT_S)
    with consumer(topic, kind) as reader:
        first, other = ends(reader, topic)
        for value, is_committed in ((b"0", True), (b"1", False), (b"2", True)):
            writer.begin_transaction()
            writer.produce(topic.name, value, partition=0)
            if is_committed:
                writer.commit_transaction(TIMEOUT_S)
            else:
                writer.flush(TIMEOUT_S)
                writer.abort_transaction(TIMEOUT_S)
        found = rows_of(read_from(reader, topic, [first, other]))
    assert [(read.offset - first, read.value) for read in found] == [(0, b"0"), (4, b"2")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_that_is_gone_is_an_error_of_its_partition(
    topic: EphemeralTopic, kind: type[ColumnConsumer]
) -> None:
    with consumer(topic, kind) as reader:
        source, _, error = read_first_error(reader, topic, 1_000_000)
    assert source == (topic.name, 1)
    assert error.code() == OFFSET_IS_GONE


def test_a_record_that_is_not_fetched_is_dropped_by_the_next_wait(topic: EphemeralTopic) -> None:
    with consumer(topic) as reader:
        begin, _ = ends(reader, topic)
        topic.produce(*(Record(value, partition=0) for value in (b"0", b"1", b"2")))
        reader.assign([KafkaPartition(topic.name, 0, begin)])
        assert reader.wait(TIMEOUT_S)
        assert reader.wait(TIMEOUT_S)
        (records,) = reader.fetch(1).records
        assert records.values == [b"1"]
        (records,) = reader.fetch(1, TIMEOUT_S).records
        assert records.values == [b"2"]


def test_a_batch_of_too_many_bytes_is_cut(
    topic: EphemeralTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "_MAX_BYTES", 10)
    values = [b"4444", b"4444", b"1", b"1", b"the value alone is longer", b"1", b"9" * 9, b"1"]
    with consumer(topic) as reader:
        begins = ends(reader, topic)
        topic.produce(*(Record(value, partition=0) for value in values))
        batches = read_from(reader, topic, begins)
    offsets = [int(offset) for records in batches for offset in records.offsets]
    assert offsets == list(range(begins[0], begins[0] + len(values)))
    assert [value for records in batches for value in records.values] == values
    sizes = [len(records.value_column.data) for records in batches]
    assert sizes == [10, 25, 10, 1]


def test_callbacks_are_called_with_the_partitions_of_the_group(topic: EphemeralTopic) -> None:
    gained: list[int] = []
    lost: list[int] = []

    def note(numbers: list[int]) -> Callable[[object, list[KafkaPartition]], None]:
        return lambda _, partitions: numbers.extend(one.partition for one in partitions)

    with consumer(topic) as reader:
        reader.subscribe([topic.name], note(gained), note(lost), note(lost))
        poll_until(reader, lambda: gained)
        assert sorted(gained) == [0, 1]
        assert not lost
    assert sorted(lost) == [0, 1]


def test_what_a_callback_raises_is_raised_by_the_poll(topic: EphemeralTopic) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the callback")

    with consumer(topic) as reader:
        reader.subscribe([topic.name], fail, print, print)
        with pytest.raises(ZeroDivisionError, match="of the callback"):
            poll_until(reader, lambda: False)
        reader.wait(0)  # it is raised once


def test_a_consumer_that_is_closed_refuses_to_work(topic: EphemeralTopic) -> None:
    with consumer(topic) as reader:
        reader.close()
        reader.close()
        partitions = [KafkaPartition(topic.name, 0, 0)]
        for call in (
            lambda: reader.wait(0),
            lambda: reader.fetch(1),
            lambda: reader.pause(partitions),
            lambda: reader.committed(partitions, timeout=1),
            lambda: reader.incremental_assign(partitions),
            lambda: reader.get_watermark_offsets(partitions[0], timeout=1),
            reader.unassign,
            reader.consumer_group_metadata,
        ):
            with pytest.raises(RuntimeError, match="closed"):
                call()


def test_an_unknown_property_is_refused_by_its_name(topic: EphemeralTopic) -> None:
    for kind in KINDS:
        with (
            pytest.raises(KafkaException, match="no-such-property"),
            consumer(topic, kind, **{"no-such-property": 1}),
        ):
            pass


def test_a_library_of_another_layout_is_read_message_by_message(
    topic: EphemeralTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"bootstrap.servers": str(topic.cluster), "group.id": "of-any-layout"}
    with closing(open_consumer(config, print)) as reader:
        assert isinstance(reader, BulkConsumer)
    # As if a number had been put in front of the others.
    read = c.message_at
    monkeypatch.setattr(c, "message_at", lambda address: read(address + 8))
    abi_check.reads_messages.cache_clear()
    with capture_logs() as logs, closing(open_consumer(config, print)) as reader:
        assert isinstance(reader, MessageConsumer)
    abi_check.reads_messages.cache_clear()
    (line,) = logs
    assert line["event"] == "records are read one by one: unknown layout"


@given(st.lists(st.none() | st.binary(max_size=4), max_size=6), st.data())
def test_a_column_of_bytes_holds_its_strings(
    strings: list[bytes | None], data: st.DataObject
) -> None:
    column = BinaryColumn.of(strings)
    assert column.to_list() == strings
    assert [column.at(row) for row in range(len(strings))] == strings
    count = data.draw(st.integers(0, len(strings)))
    assert column.first(count).to_list() == strings[:count]


@given(st.lists(HEADERS.map(list), max_size=5))
def test_a_column_of_headers_holds_those_of_each_record(records: list[Headers]) -> None:
    column = HeaderColumn.of(records)
    assert [column.of_record(row) for row in range(len(records))] == records
