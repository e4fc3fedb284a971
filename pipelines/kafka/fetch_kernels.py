"""Copies fetched messages into columns: kernels that read librdkafka's memory."""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bools, Int, Int32s, Int64s, UInt64s, kernel
from pipelines.columnar.raw_memory import (
    call_1,
    call_2,
    call_5,
    copy_memory,
    int8_at,
    int32_at,
    int64_at,
)
from pipelines.kafka import librdkafka as c


def _offset(field: str) -> int:
    return c.MESSAGE.fields[field][1] if c.MESSAGE.fields else 0


_CODE: Final = _offset("code")
_TOPIC: Final = _offset("topic")
_PARTITION: Final = _offset("partition")
_VALUE: Final = _offset("value")
_SIZE: Final = _offset("size")
_KEY: Final = _offset("key")
_KEY_SIZE: Final = _offset("key_size")
_OFFSET: Final = _offset("offset")

# The functions that kernels call, in this order.
CALLS: Final = np.array(
    [
        c.address(function)
        for function in (
            c.message_timestamp,
            c.message_headers,
            c.header_get_all,
            c.message_destroy,
        )
    ],
    np.int64,
)
_TIMESTAMP, _HEADERS, _HEADER, _DESTROY = 0, 1, 2, 3

# Columns of a run of messages: the first one and the end, topic and partition, an error code (of a
# single message), and how much there is to copy.
RUN_COLUMNS: Final = 9
BEGIN, END, TOPIC, PARTITION, CODE, KEYS, VALUES, HEADERS, HEADER_BYTES = range(RUN_COLUMNS)

# What librdkafka writes to: the headers of a message, then name, value and size of one of them.
OUT_WORDS: Final = 4


@kernel
def find_runs(
    messages: UInt64s, max_bytes: Int, calls: Int64s, out: Int64s, at: Int, runs: Int64s
) -> Int:
    """Cut messages into runs of one partition, and an error for itself; return how many.

    `runs` has `RUN_COLUMNS` columns. No run has more than `max_bytes` of keys, of values or of
    headers, unless it is a single message. `at` is the address of `out`.
    """
    count = 0
    for i in range(len(messages)):
        message: Int = np.int64(messages[i])
        code = int32_at(message + _CODE)
        topic = int64_at(message + _TOPIC)
        partition = int32_at(message + _PARTITION)
        keys = _size(message, _KEY, _KEY_SIZE)
        values = _size(message, _VALUE, _SIZE)
        headers: Int = np.int64(0)
        header_bytes: Int = np.int64(0)
        if code == 0 and np.int32(call_2(calls[_HEADERS], (message, at))) == 0:
            while (
                np.int32(call_5(calls[_HEADER], (out[0], headers, at + 8, at + 16, at + 24))) == 0
            ):
                headers += 1
                header_bytes += _length(out[1]) + out[3]
        last = count - 1
        if (
            count == 0
            or code != 0
            or runs[last, CODE] != 0
            or runs[last, TOPIC] != topic
            or runs[last, PARTITION] != partition
            or runs[last, KEYS] + keys > max_bytes
            or runs[last, VALUES] + values > max_bytes
            or runs[last, HEADER_BYTES] + header_bytes > max_bytes
        ):
            last = count
            count += 1
            for column in range(RUN_COLUMNS):
                runs[last, column] = 0
            runs[last, BEGIN] = i
            runs[last, TOPIC], runs[last, PARTITION] = topic, partition
            runs[last, CODE] = code
        runs[last, END] = i + 1
        runs[last, KEYS] += keys
        runs[last, VALUES] += values
        runs[last, HEADERS] += headers
        runs[last, HEADER_BYTES] += header_bytes
    return count


@kernel
def copy_run(
    messages: UInt64s,
    row: Int,
    calls: Int64s,
    at: Int,
    offsets: Int64s,
    timestamps: Int64s,
    key_starts: Int32s,
    null_keys: Bools,
    keys: Int,
    value_starts: Int32s,
    null_values: Bools,
    values: Int,
) -> None:
    """Copy messages into the columns from `row` on.

    `keys` and `values` are the addresses of their bytes, `at` is one of memory to write to.
    """
    for i in range(len(messages)):
        message: Int = np.int64(messages[i])
        offsets[row] = int64_at(message + _OFFSET)
        # Zero where there is none.
        timestamps[row] = max(call_2(calls[_TIMESTAMP], (message, at)), np.int64(0))
        key, size = int64_at(message + _KEY), _size(message, _KEY, _KEY_SIZE)
        null_keys[row] = key == 0
        copy_memory(keys + key_starts[row], key, size)
        key_starts[row + 1] = key_starts[row] + size
        value, size = int64_at(message + _VALUE), _size(message, _VALUE, _SIZE)
        null_values[row] = value == 0
        copy_memory(values + value_starts[row], value, size)
        value_starts[row + 1] = value_starts[row] + size
        row += 1


@kernel
def copy_headers(
    messages: UInt64s,
    row: Int,
    calls: Int64s,
    out: Int64s,
    at: Int,
    firsts: Int32s,
    starts: Int32s,
    null_values: Bools,
    data: Int,
) -> None:
    """Copy the headers of messages: those of message i of the columns begin at `firsts[i]`.

    The name of header h is string `2 * h`, its value string `2 * h + 1`; `data` is the address of
    their bytes.
    """
    for i in range(len(messages)):
        header: Int = np.int64(firsts[row])
        index: Int = np.int64(0)
        if np.int32(call_2(calls[_HEADERS], (np.int64(messages[i]), at))) == 0:
            while np.int32(call_5(calls[_HEADER], (out[0], index, at + 8, at + 16, at + 24))) == 0:
                string = 2 * header
                size = _length(out[1])
                copy_memory(data + starts[string], out[1], size)
                starts[string + 1] = starts[string] + size
                null_values[header] = out[2] == 0
                size = np.int64(0) if out[2] == 0 else out[3]
                copy_memory(data + starts[string + 1], out[2], size)
                starts[string + 2] = starts[string + 1] + size
                header += 1
                index += 1
        row += 1
        firsts[row] = header


@kernel
def destroy(messages: UInt64s, calls: Int64s) -> None:
    """Give messages back to librdkafka."""
    for i in range(len(messages)):
        call_1(calls[_DESTROY], (np.int64(messages[i]),))


@kernel
def _size(message: Int, pointer: Int, size: Int) -> Int:
    """Return the size of a key or a value: 0 where it is null."""
    return np.int64(0) if int64_at(message + pointer) == 0 else int64_at(message + size)


@kernel
def _length(text: Int) -> Int:
    """Return the length of a text that a zero ends."""
    end = text
    while int8_at(end) != 0:
        end += 1
    return end - text
