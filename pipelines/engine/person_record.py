"""The changelog's records of persons: the rows that a person has, of all definitions.

    for each row:  the definition's tag (8 bytes), the row's length (4 bytes), the row as packed

Numbers are little-endian. A record holds all rows of a person, because compaction keeps the latest
record of a key; and a person whose event concerns several definitions is written once. Rows of an
unknown tag are skipped: their definition has ended.

A row that must be logged sooner is a record of its own, with a key of its own, and so are the rows
of a person whose record would be larger than `MAX_RECORD_BYTES`. The later of the two records
counts.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.columnar.jit import (
    Bools,
    Bytes,
    Int,
    Int32s,
    Int64s,
    UInt64s,
    kernel,
    register_example,
)
from pipelines.columnar.key_index import prefixed
from pipelines.columnar.memcpy import copy
from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.operator import Packed

# Of a record with its key: below what a topic takes by Kafka's default (1 MiB).
MAX_RECORD_BYTES: Final = 900_000
_BYTES_BATCH: Final = 1 << 30  # an Arrow array of binaries has less than 2 GiB
_HEADER: Final = 12
_ROW: Final = b"\0"  # no project's name begins with it
_ROW_KEY: Final = len(_ROW) + 16  # and 16 hexadecimal digits of the tag


class Part(NamedTuple):
    """Rows of one definition; row i belongs to the `persons[i]`-th record."""

    tag: np.uint64
    persons: NDArray[np.intp]
    rows: Packed


class Parts(NamedTuple):
    """The rows in some records: row i is `data[begins[i]:ends[i]]`, of record `records[i]`.

    `malformed` are the records that were not made by `join`. They have no rows here.
    """

    tags: UInt64s
    records: Int32s
    begins: Int64s
    ends: Int64s
    malformed: Int64s


def person_keys(project: str, persons: ArrowColumn) -> ArrowColumn:
    """Return the keys of persons' records: `project/person`."""
    return prefixed(f"{project}/", persons)


def row_keys(tag: np.uint64, project: str, persons: ArrowColumn) -> ArrowColumn:
    """Return the keys of records that hold one row of a definition."""
    return prefixed(f"{_ROW.decode()}{tag:016x}{project}/", persons)


def person_key(key: bytes) -> bytes:
    """Return the key of the person whose row, or rows, a record with this key holds."""
    return key[_ROW_KEY:] if key.startswith(_ROW) else key


def row_tag(key: bytes) -> int | None:
    """Return the tag in the key of a record that holds one row; None if it holds a person's.

    It is 0, that of no definition, if the key is none of ours.
    """
    if not key.startswith(_ROW):
        return None
    try:
        return int(key[len(_ROW) : _ROW_KEY], 16)
    except ValueError:
        return 0


def join(count: int, parts: Iterable[Part]) -> Iterator[tuple[slice, ArrowColumn]]:
    """Yield `count` records, a slice of them at a time, as an Arrow array of binaries."""
    data, begins, ends = join_columns(count, parts)
    first = 0
    while first < count:
        most = begins[first] + _BYTES_BATCH
        last = max(int(np.searchsorted(ends, most, "right")), first + 1)
        starts = np.zeros(last - first + 1, np.int32)
        starts[1:] = ends[first:last] - begins[first]
        # To pyarrow's stubs, arrays are no buffers.
        columns: list[Any] = [starts, data[begins[first] : ends[last - 1]]]
        buffers = [None, *map(pa.py_buffer, columns)]
        yield slice(first, last), pa.Array.from_buffers(pa.binary(), last - first, buffers)
        first = last


def join_columns(count: int, parts: Iterable[Part]) -> Packed:
    """Return `count` records, one after another."""
    parts = list(parts)
    sizes = record_sizes(count, parts)
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]) if count else 0, np.uint8)
    begins = ends - sizes
    places = begins.copy()
    for tag, persons, rows in parts:
        _put_rows(tag, persons, *rows, places, out)
    return Packed(out, begins, ends)


def record_sizes(count: int, parts: Iterable[Part]) -> Int64s:
    """Return how many bytes each of `count` records has, without its key."""
    sizes = np.zeros(count, np.int64)
    for part in parts:
        sizes[part.persons] += _HEADER + part.rows.ends - part.rows.begins
    return sizes


def split(data: Bytes, starts: Int64s) -> Parts:
    """Return the rows in records, in order; record i is `data[starts[i]:starts[i + 1]]`."""
    most = len(data) // _HEADER
    tags, records = np.empty(most, np.uint64), np.empty(most, np.int32)
    begins, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    malformed = np.zeros(len(starts) - 1, np.bool_)
    count = _find_rows(data, starts, tags, records, begins, ends, malformed)
    found = slice(count)
    return Parts(tags[found], records[found], begins[found], ends[found], np.flatnonzero(malformed))


@register_example
def precompile() -> None:
    """Compile all kernels."""
    bounds = np.zeros(1, np.int64), np.ones(1, np.int64)
    rows = [
        Packed(data, *bounds) for data in (np.zeros(1, np.uint8), np.frombuffer(b"0", np.uint8))
    ]
    parts = [Part(np.uint64(1), np.zeros(1, np.intp), row) for row in rows]
    ((_, records),) = join(1, parts)
    (record,) = records.to_pylist()
    split(np.frombuffer(record, np.uint8), np.array([0, len(record)]))


@kernel
def _put_rows(
    tag: Int,
    persons: Int64s,
    data: Bytes,
    begins: Int64s,
    ends: Int64s,
    places: Int64s,
    out: Bytes,
) -> None:
    for i in range(len(persons)):
        p = places[persons[i]]
        size = ends[i] - begins[i]
        for byte in range(8):
            out[p + byte] = np.uint8((tag >> np.uint64(8 * byte)) & np.uint64(255))
        for byte in range(4):
            out[p + 8 + byte] = np.uint8((size >> (8 * byte)) & 255)
        places[persons[i]] = copy(out, p + _HEADER, data, begins[i], size)


@kernel
def _find_rows(
    data: Bytes,
    starts: Int64s,
    tags: UInt64s,
    records: Int32s,
    begins: Int64s,
    ends: Int64s,
    malformed: Bools,
) -> Int:
    count = 0
    for i in range(len(starts) - 1):
        p, end = starts[i], starts[i + 1]
        first = count
        while p < end and not malformed[i]:
            if end - p < _HEADER:
                malformed[i] = True
                break
            tag = np.uint64(0)
            for byte in range(8):
                tag |= np.uint64(data[p + byte]) << np.uint64(8 * byte)
            size = np.int64(0)
            for byte in range(4):
                size |= np.int64(data[p + 8 + byte]) << (8 * byte)
            p += _HEADER
            malformed[i] = size > end - p
            tags[count] = tag
            records[count] = i
            begins[count] = p
            p += size
            ends[count] = p
            count += 1
        if malformed[i]:
            count = first
    return count
