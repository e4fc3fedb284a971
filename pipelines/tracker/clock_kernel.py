"""The rows of `pipelines.tracker.clocks` and the kernels that work on them.

A row has how far the clock of one device is behind ours. The rows are a set-associative cache: a
key may be in any place of its bucket, and a new one takes the place that was not used for longest.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, UInt64s, kernel
from pipelines.columnar.siphash import HashKey, absorb
from schemas.time.plausible import ROUNDING_MS

# READING is `received_at - sent_at` when the offset was estimated. LATE is a later reading that may
# mean a clock that was set, and LATE_SENT its `sent_at`. NEWEST is the latest device time so far.
# Then come PIECES: a device time, and the offset by which times up to it were shifted before OFFSET
# was lowered; the newest first.
KEY, READING, OFFSET, USED, LATE, LATE_SENT, NEWEST, FIRST_PIECE = range(8)
PIECES: Final = 6
COLUMNS: Final = FIRST_PIECE + 2 * PIECES
WAYS: Final = 4  # places of a bucket
NEVER: Final = -(2**62)
# A reading that is later by up to this number of tolerances is taken for a delayed request.
MAX_DELAY: Final = 10


@kernel
def hash_devices(
    key: HashKey,
    projects: Int32s,
    project_data: Bytes,
    persons: Int32s,
    person_data: Bytes,
    devices: Int32s,
    device_data: Bytes,
    rows: Int64s,
    keys: UInt64s,
) -> None:
    """Compute the key of each row's device: the hash of its project, person and device id."""
    for n in range(len(rows)):
        row = rows[n]
        hashed = absorb(key, np.uint64(1), project_data, projects[row], projects[row + 1])
        hashed = absorb(key, hashed, person_data, persons[row], persons[row + 1])
        hashed = absorb(key, hashed, device_data, devices[row], devices[row + 1])
        keys[n] = max(hashed, np.uint64(1))  # 0 marks an empty place


@kernel
def correct(
    table: Int64s,
    keys: UInt64s,
    timestamps: Int64s,
    sent: Int64s,
    received: Int64s,
    at: Int64s,
    tolerance: Int,
    window: Int,
    max_skew: Int,
) -> None:
    """Correct timestamps in order; `at` are the times of the records. All are in milliseconds."""
    for i in range(len(keys)):
        reading = received[i] - sent[i]
        is_possible = timestamps[i] - sent[i] <= ROUNDING_MS
        place = _find(table, keys[i], at[i] - window)
        if place >= 0:
            row = table[place]
            row[USED] = max(row[USED], at[i])
            if is_possible:
                _judge(row, reading, sent[i], tolerance)
                timestamps[i] = _shift(row, timestamps[i], received[i])
            elif abs(reading - row[READING]) <= MAX_DELAY * tolerance:
                timestamps[i] = min(timestamps[i] + row[OFFSET], max(timestamps[i], received[i]))
        elif is_possible:
            row = table[_take_place(table, keys[i])]
            row[KEY] = np.int64(keys[i])
            row[USED] = at[i]
            _estimate(row, reading, tolerance)
            timestamps[i] = _shift(row, timestamps[i], received[i])
        if timestamps[i] > received[i] + max_skew and (
            is_possible or timestamps[i] + reading <= received[i] + max_skew
        ):
            timestamps[i] = min(timestamps[i] + reading, received[i])


@kernel
def _find(table: Int64s, key: Int, since: Int) -> Int:
    """Return the place of a key that was used since then, or -1."""
    first = np.int64(key & np.uint64(len(table) // WAYS - 1)) * WAYS
    for place in range(first, first + WAYS):
        if np.uint64(table[place, KEY]) == key and table[place, USED] >= since:
            return place
    return -1


@kernel
def _take_place(table: Int64s, key: Int) -> Int:
    """Return the place for a new key: its own, else the one that was not used for longest."""
    first = np.int64(key & np.uint64(len(table) // WAYS - 1)) * WAYS
    oldest: Int = first
    for place in range(first, first + WAYS):
        if np.uint64(table[place, KEY]) == key:
            return place
        if table[place, USED] < table[oldest, USED]:
            oldest = place
    return oldest


@kernel
def _estimate(row: Int64s, reading: Int, tolerance: Int) -> None:
    """Take a reading for how far the clock is behind; within the tolerance the clock is right."""
    row[READING] = reading
    row[OFFSET] = 0 if abs(reading) <= tolerance else reading
    row[LATE] = row[NEWEST] = NEVER
    for piece in range(FIRST_PIECE, COLUMNS, 2):
        row[piece], row[piece + 1] = NEVER, 0


@kernel
def _judge(row: Int64s, reading: Int, sent: Int, tolerance: Int) -> None:
    """Keep the estimate unless a reading says that the clock was set.

    Delays only ever make readings larger. So one that is larger by some minutes may be a delayed
    request: the clock was set if the next request that was sent after it had arrived agrees.
    """
    more = reading - row[READING]
    if -tolerance - ROUNDING_MS <= more <= tolerance:
        row[LATE] = NEVER
        return
    if tolerance < more <= MAX_DELAY * tolerance:
        if row[LATE] == NEVER or abs(reading - row[LATE]) > tolerance:
            row[LATE], row[LATE_SENT] = reading, sent
            return
        if sent - row[LATE_SENT] <= max(more, 2 * tolerance):
            return
    _estimate(row, reading, tolerance)


@kernel
def _shift(row: Int64s, time: Int, received: Int) -> Int:
    """Return a device's time by our clock: in the order of the device's, and not after receipt."""
    if row[OFFSET] == 0:
        return time
    if time + row[OFFSET] > received and time > row[NEWEST]:
        # The offset has the first request's delay in it: this one came through faster.
        if row[NEWEST] != NEVER:
            for column in range(COLUMNS - 1, FIRST_PIECE + 1, -1):
                row[column] = row[column - 2]
            row[FIRST_PIECE], row[FIRST_PIECE + 1] = row[NEWEST], row[OFFSET]
        row[OFFSET] = received - time
    row[NEWEST] = max(row[NEWEST], time)
    shifted = time + row[OFFSET]
    for piece in range(FIRST_PIECE, COLUMNS, 2):
        shifted = max(shifted, min(time, row[piece]) + row[piece + 1])
    return min(shifted, received)
