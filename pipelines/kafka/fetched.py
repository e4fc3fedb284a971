"""What one fetch returns: batches of records, and what went wrong with partitions."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.columnar.jit import Int64s, UInt64s, register_example
from pipelines.kafka import librdkafka as c
from pipelines.kafka.fetch_kernels import (
    BEGIN,
    CALLS,
    CODE,
    END,
    HEADER_BYTES,
    HEADERS,
    KEYS,
    OUT_WORDS,
    PARTITION,
    RUN_COLUMNS,
    TOPIC,
    VALUES,
    copy_headers,
    copy_run,
    destroy,
    find_runs,
)
from pipelines.kafka.header_column import HeaderColumn
from pipelines.kafka.records import Records, TopicPartition

# Columns have 32-bit offsets. A batch of more bytes is cut.
_MAX_BYTES: Final = 1 << 30


class FetchError(NamedTuple):
    """An error in place of a record; the end of a partition is one, at `offset`."""

    source: TopicPartition
    offset: int
    error: KafkaError


class Fetched(NamedTuple):
    """The batches of a fetch, one a partition unless it has a gigabyte; and its errors, in order.

    The batches of a partition follow each other in the order of their offsets.
    """

    records: Sequence[Records]
    errors: Sequence[FetchError]


def take(messages: UInt64s) -> Fetched:
    """Copy messages, given by their addresses, into columns, and give them back to librdkafka.

    Errors become `FetchError`s. Copies without the GIL.
    """
    out = np.zeros(OUT_WORDS, np.int64)
    runs = np.empty((len(messages), RUN_COLUMNS), np.int64)
    try:
        runs = runs[: find_runs(messages, _MAX_BYTES, CALLS, out, out.ctypes.data, runs)]
        groups: dict[tuple[int, int], list[Int64s]] = {}
        errors = []
        for run in runs:
            if run[CODE]:
                errors.append(_error(int(messages[run[BEGIN]]), run))
            else:
                groups.setdefault((int(run[TOPIC]), int(run[PARTITION])), []).append(run)
        records = [
            _copied(messages, np.array(part), out)
            for group in groups.values()
            for part in _cut(group)
        ]
        return Fetched(records, errors)
    finally:
        destroy(messages, CALLS)


def of_messages(messages: Sequence[Message]) -> Fetched:
    """Copy messages of confluent-kafka into columns."""
    groups: dict[TopicPartition, list[Message]] = {}
    errors = []
    for message in messages:
        source = TopicPartition(message.topic() or "", message.partition() or 0)
        if (error := message.error()) is None:
            groups.setdefault(source, []).append(message)
        else:
            offset = message.offset()
            errors.append(FetchError(source, c.NO_OFFSET if offset is None else offset, error))
    return Fetched([Records.of(*group) for group in groups.items()], errors)


def _cut(runs: list[Int64s]) -> list[list[Int64s]]:
    """Cut the runs of a partition where a batch would have too many bytes."""
    parts: list[list[Int64s]] = []
    total = np.zeros(RUN_COLUMNS, np.int64)
    for run in runs:
        total += run
        if not parts or total[[KEYS, VALUES, HEADER_BYTES]].max() > _MAX_BYTES:
            parts.append([])
            total = run.copy()
        parts[-1].append(run)
    return parts


def _copied(messages: UInt64s, runs: Int64s, out: Int64s) -> Records:
    """Copy runs of one partition, shape (n, `RUN_COLUMNS`), into one batch."""
    topic = c.topic_name(int(runs[0, TOPIC])).decode()
    source = TopicPartition(topic, int(runs[0, PARTITION]))
    return Records(source, *_columns(messages, runs, out))


def _columns(
    messages: UInt64s, runs: Int64s, out: Int64s
) -> tuple[Int64s, Int64s, BinaryColumn, BinaryColumn, HeaderColumn | None]:
    count = int((runs[:, END] - runs[:, BEGIN]).sum())
    offsets, timestamps = np.empty(count, np.int64), np.empty(count, np.int64)
    keys = _column(count, int(runs[:, KEYS].sum()))
    values = _column(count, int(runs[:, VALUES].sum()))
    headers = _header_column(count, int(runs[:, HEADERS].sum()), int(runs[:, HEADER_BYTES].sum()))
    at, row = out.ctypes.data, 0
    own = (offsets, timestamps, keys.starts, keys.nulls, keys.data.ctypes.data)
    columns = (*own, values.starts, values.nulls, values.data.ctypes.data)
    for run in runs:
        some = messages[run[BEGIN] : run[END]]
        copy_run(some, row, CALLS, at, *columns)
        if headers is not None:
            firsts, starts, nulls, data = headers
            copy_headers(some, row, CALLS, out, at, firsts, starts, nulls, data.ctypes.data)
        row += len(some)
    return offsets, timestamps, keys, values, headers


def _header_column(records: int, headers: int, size: int) -> HeaderColumn | None:
    if not headers:
        return None
    firsts, starts = np.zeros(records + 1, np.int32), np.zeros(2 * headers + 1, np.int32)
    return HeaderColumn(firsts, starts, np.zeros(headers, np.bool_), np.empty(size, np.uint8))


def _column(count: int, size: int) -> BinaryColumn:
    starts, nulls = np.zeros(count + 1, np.int32), np.zeros(count, np.bool_)
    return BinaryColumn(starts, np.empty(size, np.uint8), nulls)


def _error(message: int, run: Int64s) -> FetchError:
    topic = c.topic_name(int(run[TOPIC])).decode() if run[TOPIC] else ""
    reason = (c.message_errstr(message) or b"").decode(errors="replace")
    return FetchError(
        TopicPartition(topic, int(run[PARTITION])),
        int(c.message_at(message)["offset"]),
        KafkaError(int(run[CODE]), reason),
    )


@register_example
def _example() -> None:
    none = np.zeros(0, np.uint64)
    take(none)
    run = np.zeros((1, RUN_COLUMNS), np.int64)
    run[0, HEADERS] = 1
    _columns(none, run, np.zeros(OUT_WORDS, np.int64))
