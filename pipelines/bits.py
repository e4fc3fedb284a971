"""Bits of a row, as a row of 64-bit words: place 0 is the lowest bit of the first word."""

import numpy as np

from pipelines.kernel import Int, UInt64s, kernel


@kernel
def has(bits: UInt64s, row: Int, place: Int) -> Int:
    """Whether the bit at `place` is set, 0 or 1; 0 outside of the words."""
    if place < 0 or place >= 64 * bits.shape[1]:
        return 0
    return np.int64((bits[row, place // 64] >> np.uint64(place % 64)) & np.uint64(1))


@kernel
def put(bits: UInt64s, row: Int, place: Int) -> None:
    """Set the bit at `place`, which must be in the words."""
    bits[row, place // 64] |= np.uint64(1) << np.uint64(place % 64)


@kernel
def drop(bits: UInt64s, row: Int, count: Int) -> None:
    """Let go of the lowest `count` bits: what was at place `count` is at place 0."""
    words, within = count // 64, np.uint64(count % 64)
    for w in range(bits.shape[1]):
        low = high = np.uint64(0)
        if w + words < bits.shape[1]:
            low = bits[row, w + words]
        if w + words + 1 < bits.shape[1]:
            high = bits[row, w + words + 1]
        if within == 0:
            bits[row, w] = low
        else:
            bits[row, w] = (low >> within) | (high << (np.uint64(64) - within))
