"""Reads the ids of events as numbers, and makes them unique within a person."""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int32s, UInt64s, kernel, register_example
from pipelines.columnar.mix import mix
from pipelines.columnar.string_column import StringColumn

_UUID_CHARS: Final = 36


@kernel
def read_uuids(starts: Int32s, data: Bytes, ids: UInt64s, canonical: Bools) -> None:
    """Read UUIDs in their canonical spelling into `ids`, shape (n, 2): the halves of each.

    `canonical` becomes False for any other text.
    """
    for i in range(len(ids)):
        ids[i, 0] = ids[i, 1] = 0
        begin = starts[i]
        canonical[i] = starts[i + 1] - begin == _UUID_CHARS
        digits = 0
        if canonical[i]:
            for j in range(_UUID_CHARS):
                char = data[begin + j]
                if j in (8, 13, 18, 23):
                    canonical[i] &= char == 45
                    continue
                if 48 <= char <= 57:
                    digit = char - 48
                elif 97 <= char <= 102:
                    digit = char - 87
                else:
                    canonical[i] = False
                    digit = 0
                half = digits // 16
                ids[i, half] = (ids[i, half] << np.uint64(4)) | np.uint64(digit)
                digits += 1


@kernel
def add_person(starts: Int32s, data: Bytes, ids: UInt64s) -> None:
    """Mix the person of each event into its id, so that two persons may use the same id.

    The result must never change: it is compared with ids of earlier versions' snapshots.
    """
    for i in range(len(ids)):
        end = starts[i + 1]
        hashed = mix(np.uint64(0x9E3779B97F4A7C15), data, starts[i], end)
        hashed ^= np.uint64(end - starts[i])
        hashed *= np.uint64(0xD6E8FEB86659FD93)
        ids[i, 0] ^= hashed ^ (hashed >> np.uint64(32))
        ids[i, 1] ^= hashed * np.uint64(0x9E3779B97F4A7C15)


@register_example
def _read_one() -> None:
    ids = np.zeros((1, 2), np.uint64)
    read_uuids(*StringColumn.empty(1), ids, np.zeros(1, np.bool_))
    add_person(*StringColumn.empty(1), ids)
