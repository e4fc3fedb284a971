"""Hashes of bytes that anybody can compute: for choosing and comparing, not against collisions.

`siphash` is for keys that a stranger could craft.
"""

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, UInt64s, kernel, register_example
from pipelines.columnar.string_column import StringColumn


@kernel
def word_at(data: Bytes, begin: Int, end: Int) -> Int:
    """Return the up to eight bytes from `begin` on as a number, the first byte the lowest."""
    word = np.uint64(0)
    for place in range(min(8, end - begin)):
        word |= np.uint64(data[begin + place]) << np.uint64(8 * place)
    return word


@kernel
def mix(hashed: Int, data: Bytes, begin: Int, end: Int) -> Int:
    """Return `hashed` with some bytes mixed in. The result must never change: it is stored."""
    while begin < end:
        hashed = (hashed ^ word_at(data, begin, end)) * np.uint64(0xD6E8FEB86659FD93)
        hashed ^= hashed >> np.uint64(32)
        begin += 8
    return hashed


@kernel
def mix_strings(seed: Int, starts: Int32s, data: Bytes, hashes: UInt64s) -> None:
    """Hash each string of a column; other seeds give other hashes."""
    for i in range(len(hashes)):
        hashed = mix(seed ^ np.uint64(0x9E3779B97F4A7C15), data, starts[i], starts[i + 1])
        hashed = (hashed ^ np.uint64(starts[i + 1] - starts[i])) * np.uint64(0xD6E8FEB86659FD93)
        hashes[i] = hashed ^ (hashed >> np.uint64(32))


@register_example
def _mix_one() -> None:
    mix_strings(np.uint64(0), *StringColumn.empty(1), np.zeros(1, np.uint64))
