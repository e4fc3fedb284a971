"""Decodes Avro datums of flat records into columns: kernels, which accept only what is certain.

A record is flat if each field is a boolean, a number or a string, or a union of one of these with
null. A datum is accepted if an encoder would write exactly its bytes; everything else is left to
decoders that know all of Avro and say what is wrong.

Format: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int, Int32s, Int64s, kernel
from pipelines.columnar.memcpy import copy

# Kinds of fields.
BOOLEAN, INT, LONG, FLOAT, DOUBLE, STRING = range(6)
# Columns of a program, which has a row a field: the kind; the branch of the union that is null, or
# `NOT_NULL`; and the place among the string columns, or among the others.
KIND, NULL, PLACE = range(3)
NOT_NULL: Final = -1

# What a row is: framed with another schema's id, decodable, or to be decoded by others.
OTHER, SOUND, UNSURE = range(3)

HEADER_BYTES: Final = 5
_ASCII_END: Final = 128
_MOST_BYTES: Final = 10  # of a number
_INT_END: Final = 1 << 31


@kernel
def judge(
    data: Bytes,
    starts: Int32s,
    rows: Int32s,
    header: Bytes,
    program: Int64s,
    row_sizes: Int64s,
    sizes: Int64s,
    verdicts: Bytes,
) -> None:
    """Judge some of the values, each a header and a datum, and add up their strings' sizes.

    `sizes` has an entry a field, for the strings of sound rows; `row_sizes` is memory for as many.
    """
    for i in range(len(rows)):
        row = rows[i]
        verdicts[i] = _judge_one(data, starts[row], starts[row + 1], header, program, row_sizes)
        if verdicts[i] == SOUND:
            for field in range(len(program)):
                sizes[field] += row_sizes[field]


@kernel
def _judge_one(data: Bytes, p: Int, end: Int, header: Bytes, program: Int64s, sizes: Int64s) -> Int:
    if end - p < HEADER_BYTES:
        return OTHER
    for i in range(HEADER_BYTES):
        if data[p + i] != header[i]:
            return OTHER
    p = np.int64(p + HEADER_BYTES)
    for field in range(len(program)):
        sizes[field] = 0
        null = program[field, NULL]
        if null != NOT_NULL:
            if p >= end:
                return UNSURE
            branch = data[p]
            p += 1
            if branch == 2 * null:
                continue
            if branch != 2 - 2 * null:
                return UNSURE
        kind = program[field, KIND]
        if kind == STRING:
            size, p = _number(data, p, end)
            if p < 0 or size < 0 or size > end - p or not _is_utf8(data, p, size):
                return UNSURE
            sizes[field] = size
            p += size
        elif kind == LONG:
            _, p = _number(data, p, end)
            if p < 0:
                return UNSURE
        elif kind == INT:
            number, p = _number(data, p, end)
            if p < 0 or number < -_INT_END or number >= _INT_END:
                return UNSURE
        elif kind == BOOLEAN:
            if p >= end or data[p] > 1:
                return UNSURE
            p += 1
        else:
            p += 4 if kind == FLOAT else 8
            if p > end:
                return UNSURE
    return SOUND if p == end else UNSURE


@kernel
def decode(
    data: Bytes,
    starts: Int32s,
    rows: Int32s,
    program: Int64s,
    begins: Int64s,
    strings: Bytes,
    string_starts: Int32s,
    numbers: Int64s,
    valid: Bools,
) -> None:
    """Decode sound rows.

    The bytes of the string column c are written from `strings[begins[c]]` on, and where each string
    begins there into `string_starts[c]`. The other columns are rows of `numbers`, as numbers of 64
    bits: a double's own bits, a float's in the lower half. `valid` has a row a field.
    """
    for i in range(len(rows)):
        row = rows[i]
        p: Int = np.int64(starts[row]) + HEADER_BYTES
        end: Int = np.int64(starts[row + 1])
        for field in range(len(program)):
            kind, null, place = program[field, KIND], program[field, NULL], program[field, PLACE]
            is_null = False
            if null != NOT_NULL:
                is_null = data[p] == 2 * null
                p += 1
            valid[field, i] = not is_null
            if kind == STRING:
                size: Int = np.int64(0)
                if not is_null:
                    size, p = _number(data, p, end)
                begin = string_starts[place, i]
                copy(strings, begins[place] + begin, data, p, size)
                string_starts[place, i + 1] = begin + size
                p += size
            elif is_null:
                numbers[place, i] = 0
            elif kind <= LONG and kind != BOOLEAN:
                numbers[place, i], p = _number(data, p, end)
            else:
                size = 1 if kind == BOOLEAN else 4 if kind == FLOAT else 8
                numbers[place, i] = _fixed(data, p, size)
                p += size


@kernel
def _number(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """Return the number at `p` and its end, which is -1 if it is cut, too long or not the shortest.

    A number of one byte is the usual one.
    """
    if p < end and data[p] < _ASCII_END:
        byte = np.int64(data[p])
        return (byte >> 1) ^ -(byte & 1), p + 1
    raw = np.uint64(0)
    for i in range(_MOST_BYTES):
        if p >= end:
            break
        part = data[p]
        p += 1
        raw |= np.uint64(part & 127) << np.uint64(7 * i)
        if part < _ASCII_END:
            if part == 0 or (i == _MOST_BYTES - 1 and part > 1):
                break
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), p
    return np.int64(0), np.int64(-1)


@kernel
def _fixed(data: Bytes, p: Int, size: Int) -> Int:
    """Return the number in the next bytes, the lowest first."""
    raw = np.uint64(0)
    for i in range(size):
        raw |= np.uint64(data[p + i]) << np.uint64(8 * i)
    return np.int64(raw)


@kernel
def _is_utf8(data: Bytes, p: Int, size: Int) -> bool:
    begin, bits = np.uint64(p), np.uint8(0)
    for i in range(np.uint64(size)):  # many bytes at once, as most texts are ASCII
        bits |= data[begin + i]
    if bits < _ASCII_END:
        return True
    return _is_valid_utf8(data, p, p + size)


@kernel
def _is_valid_utf8(data: Bytes, p: Int, end: Int) -> bool:
    """Return whether the bytes are UTF-8: no surrogates, no longer form than necessary."""
    while p < end:
        first = data[p]
        p += 1
        if first < _ASCII_END:
            continue
        low, high = np.uint8(0x80), np.uint8(0xBF)  # of the second byte
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                low = np.uint8(0xA0)
            elif first == 0xED:
                high = np.uint8(0x9F)
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                low = np.uint8(0x90)
            elif first == 0xF4:
                high = np.uint8(0x8F)
        else:
            return False
        if more > end - p or data[p] < low or data[p] > high:
            return False
        for i in range(1, more):
            if data[p + i] < 0x80 or data[p + i] > 0xBF:
                return False
        p += more
    return True
