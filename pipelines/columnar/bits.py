"""Bit sets, one a row, each in `words` numbers of 64 bits, the lowest bits first."""

import numpy as np

from pipelines.columnar.jit import Int, UInt64s, kernel


@kernel
def has(bits: UInt64s, words: Int, row: Int, place: Int) -> Int:
    """Return the bit at `place`, 0 or 1; 0 outside of the words."""
    if place < 0 or place >= 64 * words:
        return 0
    return np.int64((bits[row, place // 64] >> np.uint64(place % 64)) & np.uint64(1))


@kernel
def put(bits: UInt64s, row: Int, place: Int) -> None:
    """Set the bit at `place`, which must be within the words."""
    bits[row, place // 64] |= np.uint64(1) << np.uint64(place % 64)


@kernel
def drop(bits: UInt64s, words: Int, row: Int, count: Int) -> None:
    """Drop the lowest `count` bits: the bit at `count` moves to 0."""
    ahead, within = count // 64, np.uint64(count % 64)
    for w in range(words):
        low = high = np.uint64(0)
        if w + ahead < words:
            low = bits[row, w + ahead]
        if w + ahead + 1 < words:
            high = bits[row, w + ahead + 1]
        if within == 0:
            bits[row, w] = low
        else:
            bits[row, w] = (low >> within) | (high << (np.uint64(64) - within))
