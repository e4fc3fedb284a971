"""The columns of a batch hold what its records hold."""

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.kafka.records import Headers, Outbox, Records, TopicPartition

SOURCE = TopicPartition("events", 1)


def message(offset: int, stamp: int) -> Message:
    return Message(
        topic=SOURCE.topic,
        partition=SOURCE.partition,
        offset=offset,
        key=b"key-%d" % offset,
        value=None if offset % 5 == 0 else b"value-%d" % offset,
        timestamp=(TIMESTAMP_CREATE_TIME, stamp),
    )


@settings(deadline=None)
@given(st.sets(st.integers(0, 60), min_size=1), st.integers(-1, 1_000))
def test_columns_are_those_of_the_records(offsets: set[int], stamp: int) -> None:
    messages = [message(offset, stamp + offset) for offset in sorted(offsets)]
    records = Records.of(SOURCE, messages)
    assert records.offsets.tolist() == sorted(offsets)
    assert records.next_offset == max(offsets) + 1
    assert records.timestamps.tolist() == [max(stamp + offset, 0) for offset in sorted(offsets)]
    assert records.values == [m.value() for m in messages]
    assert records.keys == [m.key() for m in messages]


def test_keys_values_and_headers_must_be_equal_in_number() -> None:
    outbox = Outbox()
    wrong: list[tuple[list[bytes], list[bytes], list[Headers] | None]] = [
        ([b"a", b"b"], [b"1"], None),
        ([b"a"], [b"1", b"2"], None),
        ([b"a", b"b"], [b"1", b"2"], [[]]),
    ]
    for keys, values, headers in wrong:
        with pytest.raises(ValueError, match="equal in number"):
            outbox.send("topic", keys, values, headers=headers)
    assert not outbox.take()
