"""Checksums of sets of questions, so that who asked and who learned can be compared by id.

The checksum of a set is the sum, modulo 2^64, of `splitmix64(splitmix64(partition) + offset)` over
its questions. The order does not matter, and a question that is in the set twice counts twice.
"""

from typing import Final

import numpy as np

from schemas.examples.columns import Int64s

_MODULUS: Final = 1 << 64
_GAMMA: Final = 0x9E3779B97F4A7C15


def checksum(partition: int, offsets: Int64s) -> int:
    """Return the checksum of the questions that events of one source partition asked."""
    partitions = np.array([partition], np.int64).view(np.uint64)
    mixed = _splitmix64(_splitmix64(partitions) + offsets.view(np.uint64))
    return int(mixed.sum(dtype=np.uint64))


def added(one: int, other: int) -> int:
    """Return the checksum of two sets together, from theirs."""
    return (one + other) % _MODULUS


def to_signed(value: int) -> int:
    """Return a checksum or tag as the signed long of the same bits, which records have."""
    return value - _MODULUS if value >= _MODULUS >> 1 else value


def from_signed(value: int) -> int:
    """Return the checksum or tag that a signed long of a record stands for."""
    return value % _MODULUS


def _splitmix64(
    values: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014)."""
    mixed = values + np.uint64(_GAMMA)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
