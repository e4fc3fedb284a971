"""Timers: which ids are due at a time that the caller passes in."""

import sys

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s


class Timers:
    """Sorted runs of (due, id). Runs of similar size are merged, so there are at most log n.

    A timer cannot be cancelled: the caller checks whether one that it takes is still valid.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Int64s, Int32s]] = []

    def __len__(self) -> int:
        return sum(len(due) for due, _ in self._runs)

    def add(self, due: Int64s, ids: Int32s) -> None:
        """Set timers: `ids[i]` is due at `due[i]` (ms)."""
        run = _sorted(due, ids)
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            last = self._runs.pop()
            run = _sorted(np.concatenate([last[0], run[0]]), np.concatenate([last[1], run[1]]))
        if len(run[0]):
            self._runs.append(run)

    def take(self, now: int, limit: int = sys.maxsize) -> tuple[Int64s, Int32s]:
        """Remove and return the timers that are due at `now` (ms), at most `limit` of them."""
        taken, kept = [_NO_RUN], []
        for due, ids in self._runs:
            split = min(int(np.searchsorted(due, now, "right")), limit)
            limit -= split
            taken.append((due[:split], ids[:split]))
            if split < len(due):
                kept.append((due[split:], ids[split:]))
        self._runs = kept
        return np.concatenate([due for due, _ in taken]), np.concatenate([ids for _, ids in taken])


_NO_RUN = (np.empty(0, np.int64), np.empty(0, np.int32))


def _sorted(due: Int64s, ids: Int32s) -> tuple[Int64s, Int32s]:
    order = np.argsort(due, kind="stable")
    return due[order], ids[order]
