"""Which events were seen before: the ids of a partition's last hours, in bounded memory.

An id is forgotten when it is older than the window. When there is no room for another one, the
project with the most ids forgets its oldest, so that a busy project does not make others forget.
Time is that of the Kafka records: what is too old does not depend on when a record is read.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import AnyArray, Bools, Int32s, Int64s, UInt64s, register_example
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.siphash import HashKey
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.tracker import dedup_kernel as dk
from pipelines.tracker.dedup_kernel import IdTable

BYTES_PER_ID: Final = 48  # a slot of 32 bytes, and at most four cells of 4
_MIN_SLOTS: Final = 1_024
_MIN_PROJECTS: Final = 64
_MANY_PROJECTS: Final = 4_096  # from here on, numbers of projects without ids are given back
_ENDLESS: Final = 2**62


class SeenIds:
    """The ids that one partition has seen."""

    def __init__(self, window_ms: int, capacity: int) -> None:
        self._window = window_ms
        self._capacity = capacity
        self._clear()

    def _clear(self) -> None:
        self._slots = np.zeros((min(_MIN_SLOTS, self._capacity), 4), np.uint64)
        self._projects = np.zeros((_MIN_PROJECTS, 5), np.int64)
        self._heap = np.zeros(_MIN_PROJECTS, np.int32)
        self._heads = np.zeros(6, np.int64)
        self._numbers = KeyIndex()  # of projects
        self._horizon = dk.NEVER
        self._key = HashKey.random()
        self._index()

    def __len__(self) -> int:
        return int(self._heads[dk.SIZE])

    @property
    def nbytes(self) -> int:
        """The memory held, in bytes."""
        arrays = (self._slots, self._cells, self._projects, self._heap)
        return sum(array.nbytes for array in arrays) + self._numbers.nbytes

    def admit(self, ids: UInt64s, projects: ArrowColumn, times: Int64s) -> Bools:
        """Remember the ids, in order; return which of them are new.

        `ids` has shape (n, 2), the halves of each UUID; `projects` is an Arrow string array of
        names; `times` are those of the records in Unix milliseconds.
        """
        if len(self._numbers) > _MANY_PROJECTS:
            self._give_back_numbers()
        encoded = projects.dictionary_encode()
        count = len(self._numbers)
        numbers = self._numbers_of(encoded.dictionary)[encoded.indices.to_numpy()]
        if len(self._numbers) > count and self._fit():
            numbers = self._numbers_of(encoded.dictionary)[encoded.indices.to_numpy()]
        return self._admit(ids, numbers, times, self._window)

    def covered_ms(self) -> dict[str, int]:
        """Return for how long back the ids of each project are known, at most the window."""
        count = len(self._numbers)
        unknown = np.maximum(self._projects[:count, dk.EVICTED], self._horizon)
        covered = np.minimum(self._heads[dk.NEWEST] - unknown, self._window)
        names = self._numbers.second(np.arange(count, dtype=np.int32)).to_pylist()
        return dict(zip(names, covered.tolist(), strict=True))

    def resize(self, capacity: int) -> None:
        """Change how many ids may be remembered; the oldest of the largest projects go first."""
        self._capacity = capacity
        self._fit()

    def forget_before(self, time: int) -> None:
        """State that ids of records before `time` are not known, because they were not read."""
        self._horizon = max(self._horizon, time)

    def dump(self) -> dict[str, AnyArray]:
        """Return a copy of the ids: halves, project's number and time; a project's oldest first."""
        ids = np.empty((len(self), 4), np.uint64)
        dk.copy_all(self._table, ids)
        evicted = self._projects[: len(self._numbers), dk.EVICTED].copy()
        heads = np.array([self._heads[dk.NEWEST], self._horizon])
        return {"ids": ids, "evicted": evicted, "heads": heads} | self._numbers.dump()

    def load(self, columns: dict[str, AnyArray]) -> None:
        """Replace the ids by those of a `dump`, of which the oldest may find no room."""
        ids, evicted = columns["ids"], columns["evicted"]
        keys = KeyIndex.load({name: columns[name] for name in ("key_starts", "key_data")})
        names = keys.second(np.arange(len(keys), dtype=np.int32))
        used = np.zeros(len(keys), np.bool_)
        used[ids[:, 2].astype(np.int64)] = True
        self._clear()
        self._horizon = int(columns["heads"][1])
        numbers = np.zeros(len(keys), np.int32)
        numbers[used] = self._numbers_of(names.filter(used))
        self._projects[numbers[used], dk.EVICTED] = evicted[used]
        halves, times = np.ascontiguousarray(ids[:, :2]), ids[:, 3].astype(np.int64)
        self._admit(halves, numbers[ids[:, 2].astype(np.int64)], times, _ENDLESS)
        self._heads[dk.NEWEST] = columns["heads"][0]

    # ── columns and their growth ──────────────────────────────────────────────────────────────────

    @property
    def _table(self) -> IdTable:
        return IdTable(self._key, self._slots, self._cells, self._projects, self._heap, self._heads)

    def _admit(self, ids: UInt64s, numbers: Int32s, times: Int64s, window: int) -> Bools:
        new, hashes = np.empty(len(ids), np.bool_), np.empty(len(ids), np.uint64)
        dk.hash_ids(self._key, ids, numbers, hashes)
        done = 0
        while True:
            table = self._table
            done = dk.admit(table, window, self._capacity, ids, numbers, times, hashes, new, done)
            if done == len(ids):
                return new
            room = max(self._room, len(self._slots) + 1)
            self._slots = grown(self._slots, min(2 * len(self._slots), room))[:room]
            if len(self._cells) < 2 * len(self._slots):
                self._index()

    @property
    def _room(self) -> int:
        """How many ids may be remembered besides the projects that there are."""
        return self._capacity - dk.IDS_PER_PROJECT * len(self._numbers)

    def _fit(self) -> bool:
        """Give back memory if there are far more slots than room; return whether it did."""
        if len(self._slots) <= max(_MIN_SLOTS, self._room * 5 // 4):
            return False
        self.load(self.dump())
        return True

    def _index(self) -> None:
        """Make a hash table of two to four cells a slot."""
        self._cells = np.zeros(1 << (2 * len(self._slots) - 1).bit_length(), np.int32)
        dk.index_all(self._table)

    def _numbers_of(self, names: ArrowColumn) -> Int32s:
        rows = np.arange(len(names))
        numbers = self._numbers.intern(StringColumn.empty(len(names)), StringColumn.of(names), rows)
        count = len(self._numbers)
        self._projects = grown(self._projects, count)
        self._heap = grown(self._heap, count)
        dk.add_projects(self._table, count)
        return numbers

    def _give_back_numbers(self) -> None:
        """Number the projects again if most have no ids: short-lived ones shall cost nothing."""
        alive = self._projects[: len(self._numbers), dk.COUNT] > 0
        if 2 * np.count_nonzero(alive) < len(self._numbers):
            self.load(self.dump())


@register_example
def _admit_and_load() -> None:
    seen = SeenIds(1, 1)
    seen.admit(np.zeros((1, 2), np.uint64), pa.array(["a"]), np.zeros(1, np.int64))
    seen.load(seen.dump())
