"""Recognize events that the broker has acknowledged before, as far as this process remembers.

The memory is small and exact in one direction: an event is called a duplicate only if the same id
of the same person was acknowledged within the last hour. The Tracker knows the others, and drops
all of them.
"""

import secrets
from typing import Final

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int, Int64s, UInt64s, kernel
from pipelines.columnar.mix import mix
from pipelines.kafka.bulk_producer import RecordColumns

_PLACES: Final = 1 << 16
_MAX_WINDOW_MS: Final = 3_600_000
# Of an event's record: the id comes after the wire format's header and the length of the id.
_ID_BEGIN: Final = 6
_ID_SIZE: Final = 36


class RecentEvents:
    """The ids of the last acknowledged events, which the Tracker knows for `window_ms`."""

    def __init__(self, window_ms: int) -> None:
        self._window = min(window_ms, _MAX_WINDOW_MS)
        self._seed = np.uint64(secrets.randbits(64))
        self._places = np.zeros((_PLACES, 2), np.uint64)
        self._times = np.full(_PLACES, -(1 << 62), np.int64)
        self.add(RecordColumns(np.empty(0, np.uint8), *(np.empty(0, np.int64),) * 3), 0)

    def add(self, records: RecordColumns, now: int) -> Bools:
        """Remember records that were acknowledged at `now`; return which were known already."""
        known = np.empty(len(records.ends), np.bool_)
        _add(self._seed, self._places, self._times, *records, now, now - self._window, known)
        return known


@kernel
def _add(
    seed: Int,
    places: UInt64s,
    times: Int64s,
    data: Bytes,
    begins: Int64s,
    splits: Int64s,
    ends: Int64s,
    now: Int,
    since: Int,
    known: Bools,
) -> None:
    for i in range(len(ends)):
        begin = splits[i] + _ID_BEGIN
        hi = _hash(seed, data, begins[i], splits[i])
        hi = _hash(hi, data, begin, begin + _ID_SIZE)
        lo = _hash(hi ^ seed, data, begin, begin + _ID_SIZE)
        place = np.int64(hi & np.uint64(len(times) - 1))
        known[i] = places[place, 0] == hi and places[place, 1] == lo and times[place] >= since
        places[place, 0], places[place, 1], times[place] = hi, lo, now


@kernel
def _hash(hashed: Int, data: Bytes, begin: Int, end: Int) -> Int:
    return mix(hashed ^ np.uint64(end - begin), data, begin, end)
