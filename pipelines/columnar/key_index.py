"""Maps keys to dense numbers, which index the columns of every table.

A key is two strings, such as a project and a person. The first key that is interned gets slot 0,
the next one slot 1, and so on. Look-ups compare the bytes themselves, so that keys with the same
hash stay distinct.
"""

import secrets

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, UInt64s, kernel, register_example
from pipelines.columnar.memcpy import copy
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.columnar.string_column import ArrowColumn, StringColumn

ABSENT = -1
_SEPARATOR = 0


class KeyIndex:
    """A hash index; a key takes 16 bytes, its own length and 1.5 to 3 cells of 4 bytes."""

    def __init__(self) -> None:
        self._seed = np.uint64(secrets.randbits(64))  # so that nobody can craft keys that collide
        self._cells = np.zeros(64, np.int32)  # slot + 1, or 0: open addressing, linear probing
        self._hashes = np.zeros(32, np.uint64)
        self._starts = np.zeros(33, np.int64)
        self._data = np.zeros(1_024, np.uint8)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Return the memory held, in bytes."""
        return self._cells.nbytes + self._hashes.nbytes + self._starts.nbytes + self._data.nbytes

    def intern(self, first: StringColumn, second: StringColumn, rows: Int64s) -> Int32s:
        """Return the slots of the keys (first[i], second[i]) for i in `rows`; add new keys."""
        self._reserve(len(rows), _total_length(first.starts, second.starts, rows))
        slots = np.empty(len(rows), np.int32)
        self._size = _intern(
            self._seed,
            self._cells,
            self._hashes,
            self._starts,
            self._data,
            self._size,
            *first,
            *second,
            rows,
            np.empty(len(rows), np.uint64),
            slots,
        )
        return slots

    def find(self, first: StringColumn, second: StringColumn, rows: Int64s) -> Int32s:
        """Return the slots of the keys (first[i], second[i]) for i in `rows`, or `ABSENT`."""
        slots = np.empty(len(rows), np.int32)
        _find(
            self._seed,
            self._cells,
            self._hashes,
            self._starts,
            self._data,
            *first,
            *second,
            rows,
            slots,
        )
        return slots

    def second(self, slots: Int32s) -> ArrowColumn:
        """Return the second strings of the keys in `slots`, as an Arrow string array."""
        lengths = np.zeros(len(slots) + 1, np.int32)
        begins = np.empty(len(slots), np.int64)
        _measure_second(self._starts, self._data, slots, begins, lengths)
        starts = np.cumsum(lengths, dtype=np.int32)
        data = np.empty(int(starts[-1]), np.uint8)
        _gather(self._data, begins, starts, data)
        buffers = [None, pa.py_buffer(starts.tobytes()), pa.py_buffer(data.tobytes())]
        return pa.Array.from_buffers(pa.string(), len(slots), buffers)

    @classmethod
    def precompile(cls) -> None:
        """Compile the kernels, for Arrow columns, which are read-only."""
        index, strings, rows = cls(), StringColumn.of(pa.array(["a"])), np.zeros(1, np.int64)
        slots = index.intern(strings, strings, rows)
        index.find(strings, strings, rows)
        index.second(slots)
        index.load(index.dump())

    def dump(self) -> dict[str, NDArray[np.generic]]:
        """Return the keys in the order of their slots."""
        return {
            "key_starts": self._starts[: self._size + 1],
            "key_data": self._data[: self._starts[self._size]],
        }

    @classmethod
    def load(cls, columns: dict[str, NDArray[np.generic]]) -> "KeyIndex":
        """Return the index whose `dump` this is."""
        index = cls()
        starts, data = columns["key_starts"].astype(np.int64), columns["key_data"]
        index._size = len(starts) - 1
        index._starts = starts
        index._data = data.astype(np.uint8)
        index._hashes = np.empty(index._size, np.uint64)
        _hash_all(index._seed, index._starts, index._data, index._hashes)
        index._rehash(index._size)
        return index

    def _reserve(self, keys: int, length: int) -> None:
        """Make room for `keys` more keys of `length` bytes in all."""
        most = self._size + keys
        if most > len(self._hashes):
            self._hashes = grown(self._hashes, most)
            self._starts = grown(self._starts, len(self._hashes) + 1)
        self._data = grown(self._data, int(self._starts[self._size]) + length)
        if most * 3 > len(self._cells) * 2:
            self._rehash(most)

    def _rehash(self, keys: int) -> None:
        cells = 1 << max(6, (keys * 2).bit_length())
        self._cells = np.zeros(cells, np.int32)
        _place(self._cells, self._hashes, self._size)


register_example(KeyIndex.precompile)


def prefixed(prefix: str | ArrowColumn, strings: ArrowColumn) -> ArrowColumn:
    """Return each string behind `prefix`, one for all or one each, as binary record keys."""
    return pc.binary_join_element_wise(prefix, strings, "").cast(pa.binary())


@kernel
def _mix(h: Int, data: Bytes, start: Int, end: Int) -> Int:
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return h


@kernel
def same(a: Bytes, a_start: Int, b: Bytes, b_start: Int, length: Int) -> bool:
    """Return whether `length` bytes are the same in both arrays."""
    for i in range(length):  # noqa: SIM110
        if a[a_start + i] != b[b_start + i]:
            return False
    return True


@kernel
def _hash(
    seed: Int, first: Int32s, first_data: Bytes, second: Int32s, second_data: Bytes, row: Int
) -> Int:
    h = _mix(seed, first_data, first[row], first[row + 1])
    h ^= np.uint64(0xFF51AFD7ED558CCD)
    return _mix(h, second_data, second[row], second[row + 1])


@kernel
def _prefetch_key(
    cells: Int32s, hashes: UInt64s, starts: Int64s, data: Bytes, key_hashes: UInt64s, i: Int
) -> None:
    mask = len(cells) - 1
    if i + 2 * FAR < len(key_hashes):
        prefetch(cells, np.int64(key_hashes[i + 2 * FAR]) & mask)
    if i + FAR < len(key_hashes):
        slot = cells[np.int64(key_hashes[i + FAR]) & mask] - 1
        prefetch(hashes, slot)
        prefetch(starts, slot)
    if i + NEAR < len(key_hashes):
        slot = cells[np.int64(key_hashes[i + NEAR]) & mask] - 1
        if slot >= 0:
            prefetch(data, starts[slot])


@kernel
def _cell(
    cells: Int32s,
    hashes: UInt64s,
    starts: Int64s,
    data: Bytes,
    first: Int32s,
    first_data: Bytes,
    second: Int32s,
    second_data: Bytes,
    row: Int,
    h: Int,
) -> Int:
    """Return the cell of the key of `row`, whose hash is `h`, or the free cell for it."""
    a, b = first[row], second[row]
    a_length, b_length = first[row + 1] - a, second[row + 1] - b
    mask = len(cells) - 1
    cell = np.int64(h) & mask
    while cells[cell] != 0:
        slot = cells[cell] - 1
        if hashes[slot] == h:
            start = starts[slot]
            if (
                starts[slot + 1] - start == a_length + 1 + b_length
                and data[start + a_length] == _SEPARATOR
                and same(data, start, first_data, a, a_length)
                and same(data, start + a_length + 1, second_data, b, b_length)
            ):
                break
        cell = (cell + 1) & mask
    return cell


@kernel
def _intern(
    seed: Int,
    cells: Int32s,
    hashes: UInt64s,
    starts: Int64s,
    data: Bytes,
    size: Int,
    first: Int32s,
    first_data: Bytes,
    second: Int32s,
    second_data: Bytes,
    rows: Int64s,
    key_hashes: UInt64s,
    slots: Int32s,
) -> Int:
    for i in range(len(rows)):
        key_hashes[i] = _hash(seed, first, first_data, second, second_data, rows[i])
    for i in range(len(rows)):
        _prefetch_key(cells, hashes, starts, data, key_hashes, i)
        row, h = rows[i], key_hashes[i]
        cell = _cell(cells, hashes, starts, data, first, first_data, second, second_data, row, h)
        if cells[cell] == 0:
            a, b = np.int64(first[row]), np.int64(second[row])
            end = copy(data, starts[size], first_data, a, first[row + 1] - a)
            data[end] = _SEPARATOR
            end = copy(data, end + 1, second_data, b, second[row + 1] - b)
            hashes[size] = h
            size += 1
            starts[size] = end
            cells[cell] = size
        slots[i] = cells[cell] - 1
    return size


@kernel
def _find(
    seed: Int,
    cells: Int32s,
    hashes: UInt64s,
    starts: Int64s,
    data: Bytes,
    first: Int32s,
    first_data: Bytes,
    second: Int32s,
    second_data: Bytes,
    rows: Int64s,
    slots: Int32s,
) -> None:
    for i in range(len(rows)):
        row = rows[i]
        h = _hash(seed, first, first_data, second, second_data, row)
        cell = _cell(cells, hashes, starts, data, first, first_data, second, second_data, row, h)
        slots[i] = cells[cell] - 1


@kernel
def _total_length(first: Int32s, second: Int32s, rows: Int64s) -> Int:
    total = 0
    for i in range(len(rows)):
        row = rows[i]
        total += first[row + 1] - first[row] + second[row + 1] - second[row] + 1
    return total


@kernel
def _place(cells: Int32s, hashes: UInt64s, size: Int) -> None:
    mask = len(cells) - 1
    for slot in range(size):
        cell = np.int64(hashes[slot]) & mask
        while cells[cell] != 0:
            cell = (cell + 1) & mask
        cells[cell] = slot + 1


@kernel
def _hash_all(seed: Int, starts: Int64s, data: Bytes, hashes: UInt64s) -> None:
    for slot in range(len(hashes)):
        split = starts[slot]
        while data[split] != _SEPARATOR:
            split += 1
        h = _mix(seed, data, starts[slot], split)
        h = _mix(h ^ np.uint64(0xFF51AFD7ED558CCD), data, split + 1, starts[slot + 1])
        hashes[slot] = h


@kernel
def _measure_second(
    starts: Int64s, data: Bytes, slots: Int32s, begins: Int64s, lengths: Int32s
) -> None:
    for i in range(len(slots)):
        begin = starts[slots[i]]
        while data[begin] != _SEPARATOR:
            begin += 1
        begins[i] = begin + 1
        lengths[i + 1] = starts[slots[i] + 1] - begin - 1


@kernel
def _gather(source: Bytes, begins: Int64s, starts: Int32s, out: Bytes) -> None:
    for i in range(len(begins)):
        copy(out, np.int64(starts[i]), source, begins[i], np.int64(starts[i + 1] - starts[i]))
