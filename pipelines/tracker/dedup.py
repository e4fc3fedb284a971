"""Which events were there before: the ids of a partition's last hours, each held once.

An id is 32 bytes in a ring in order of arrival (24 of id and project, 8 of time) and up to 8 in an
index. It is forgotten when it is older than the window or, if there are more ids than the capacity,
when it is the oldest. Time is that of the Kafka records, so that reading them again forgets the
same ids at the same places.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, UInt64s, kernel, register_example
from pipelines.columnar.string_column import StringColumn

_FIRST, _SIZE, _NEWEST = range(3)
_UUID_CHARS: Final = 36


class SeenIds:
    """The ids that one partition has seen."""

    def __init__(self, window_ms: int, capacity: int) -> None:
        self._window = window_ms
        self._capacity = capacity
        self._ring = np.zeros((min(1_024, capacity), 4), np.uint64)
        self._cells = np.zeros(4_096, np.int32)
        self._heads = np.zeros(3, np.int64)

    def __len__(self) -> int:
        return int(self._heads[_SIZE])

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._ring.nbytes + self._cells.nbytes

    def admit(self, ids: UInt64s, projects: UInt64s, at: Int64s) -> NDArray[np.bool_]:
        """Remember the ids, in order; tells which of them are new.

        `ids` has shape (n, 2), the halves of each UUID; `projects` a hash of each project; `at` the
        records' times in milliseconds.
        """
        new = np.empty(len(ids), np.bool_)
        done = 0
        while True:
            done = _admit(
                self._ring,
                self._cells,
                self._heads,
                self._window,
                self._capacity,
                ids,
                projects,
                at,
                new,
                done,
            )
            if done == len(ids):
                return new
            self._grow()

    @classmethod
    def precompile(cls) -> None:
        """Have every kernel compiled, which takes seconds the first time on a machine."""
        ids = np.zeros((1, 2), np.uint64)
        seen = cls(1, 1)
        seen.admit(ids, ids[:, 0].copy(), np.zeros(1, np.int64))
        seen.load(seen.dump())
        read_uuids(*StringColumn.empty(1), ids, np.zeros(1, np.bool_))

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the ids, the oldest first."""
        return {"ring": self._ordered(), "newest": self._heads[_NEWEST:].copy()}

    def load(self, columns: dict[str, NDArray[Any]]) -> None:
        """Take over what `dump` gave."""
        ring = columns["ring"][-self._capacity :]
        self._heads[:] = 0, len(ring), columns["newest"][0]
        self._place(ring)

    def _grow(self) -> None:
        ring = self._ordered()
        larger = min(max(2 * len(self._ring), 1_024), self._capacity)
        self._heads[_FIRST] = 0
        self._place(np.concatenate([ring, np.zeros((larger - len(ring), 4), np.uint64)]))

    def _ordered(self) -> NDArray[np.uint64]:
        first, size = int(self._heads[_FIRST]), int(self._heads[_SIZE])
        return np.roll(self._ring, -first, axis=0)[:size].copy()

    def _place(self, ring: NDArray[np.uint64]) -> None:
        self._ring = ring
        self._cells = np.zeros(1 << max(12, (2 * len(ring)).bit_length()), np.int32)
        _index(self._ring, self._cells, self._heads)


register_example(SeenIds.precompile)


@kernel
def read_uuids(starts: Int32s, data: Bytes, ids: UInt64s, sound: NDArray[np.bool_]) -> None:
    """Read UUIDs in their canonical spelling; `sound` is False where a text is anything else."""
    for i in range(len(ids)):
        ids[i, 0] = ids[i, 1] = 0
        begin = starts[i]
        sound[i] = starts[i + 1] - begin == _UUID_CHARS
        digits = 0
        if sound[i]:
            for j in range(_UUID_CHARS):
                char = data[begin + j]
                if j in (8, 13, 18, 23):
                    sound[i] &= char == 45
                    continue
                if 48 <= char <= 57:
                    digit = char - 48
                elif 97 <= char <= 102:
                    digit = char - 87
                else:
                    sound[i] = False
                    digit = 0
                half = digits // 16
                ids[i, half] = (ids[i, half] << np.uint64(4)) | np.uint64(digit)
                digits += 1


@kernel
def _home(hi: Int, lo: Int, project: Int, mask: Int) -> Int:
    h = (hi ^ (project * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(31)
    h = (h ^ lo) * np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(29)
    return np.int64(h) & mask


@kernel
def _admit(
    ring: UInt64s,
    cells: Int32s,
    heads: Int64s,
    window: Int,
    capacity: Int,
    ids: UInt64s,
    projects: UInt64s,
    at: Int64s,
    new: NDArray[np.bool_],
    begin: Int,
) -> Int:
    mask = len(cells) - 1
    for i in range(begin, len(ids)):
        if heads[_SIZE] == len(ring):
            if len(ring) < capacity:
                return i
            _forget_oldest(ring, cells, heads)
        heads[_NEWEST] = max(heads[_NEWEST], at[i])
        while heads[_SIZE] > 0 and np.int64(ring[heads[_FIRST], 3]) < heads[_NEWEST] - window:
            _forget_oldest(ring, cells, heads)
        hi, lo, project = ids[i, 0], ids[i, 1], projects[i]
        cell = _home(hi, lo, project, mask)
        new[i] = True
        while cells[cell] != 0:
            p = cells[cell] - 1
            if ring[p, 0] == hi and ring[p, 1] == lo and ring[p, 2] == project:
                new[i] = False
                break
            cell = (cell + 1) & mask
        if new[i]:
            place = (heads[_FIRST] + heads[_SIZE]) % len(ring)
            ring[place, 0] = hi
            ring[place, 1] = lo
            ring[place, 2] = project
            ring[place, 3] = at[i]
            heads[_SIZE] += 1
            cells[cell] = place + 1
    return len(ids)


@kernel
def _forget_oldest(ring: UInt64s, cells: Int32s, heads: Int64s) -> None:
    """Take the oldest id out of the ring and the index, closing the gap that it leaves."""
    mask = len(cells) - 1
    first = heads[_FIRST]
    gap = _home(ring[first, 0], ring[first, 1], ring[first, 2], mask)
    while cells[gap] != first + 1:
        gap = (gap + 1) & mask
    cell = (gap + 1) & mask
    while cells[cell] != 0:
        p = cells[cell] - 1
        home = _home(ring[p, 0], ring[p, 1], ring[p, 2], mask)
        # It may move into the gap unless its home lies between the gap and itself.
        if (cell - home) & mask >= (cell - gap) & mask:
            cells[gap] = cells[cell]
            gap = cell
        cell = (cell + 1) & mask
    cells[gap] = 0
    heads[_FIRST] = (first + 1) % len(ring)
    heads[_SIZE] -= 1


@kernel
def _index(ring: UInt64s, cells: Int32s, heads: Int64s) -> None:
    mask = len(cells) - 1
    for i in range(heads[_SIZE]):
        place = (heads[_FIRST] + i) % len(ring)
        cell = _home(ring[place, 0], ring[place, 1], ring[place, 2], mask)
        while cells[cell] != 0:
            cell = (cell + 1) & mask
        cells[cell] = place + 1
