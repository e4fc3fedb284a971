"""SipHash-1-3 inside kernels: a hash whose collisions cannot be crafted without its key.

https://www.aumasson.jp/siphash/siphash.pdf
"""

import secrets
from typing import NamedTuple

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, UInt64s, kernel, register_example
from pipelines.columnar.mix import word_at
from pipelines.columnar.string_column import StringColumn


class HashKey(NamedTuple):
    """The secret of one hash table: 128 bits."""

    k0: Int
    k1: Int

    @classmethod
    def random(cls) -> "HashKey":
        """Return a new key."""
        return cls(np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64)))


@kernel
def siphash(key: HashKey, a: Int, b: Int, c: Int) -> Int:
    """Return the hash of three numbers of 64 bits."""
    v0 = key.k0 ^ np.uint64(0x736F6D6570736575)
    v1 = key.k1 ^ np.uint64(0x646F72616E646F6D)
    v2 = key.k0 ^ np.uint64(0x6C7967656E657261)
    v3 = key.k1 ^ np.uint64(0x7465646279746573)
    for word in (a, b, c, np.uint64(24 << 56)):
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
    v2 ^= np.uint64(0xFF)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def absorb(key: HashKey, hashed: Int, data: Bytes, begin: Int, end: Int) -> Int:
    """Return the hash of a number and of some bytes. The result must never change: it is stored."""
    size = np.uint64(end - begin)
    while True:
        hashed = siphash(key, hashed, word_at(data, begin, end), size)
        begin += 8
        if begin >= end:
            return hashed


@kernel
def hash_strings(key: HashKey, starts: Int32s, data: Bytes, hashes: UInt64s) -> None:
    """Hash each string of a column: without the key, nobody can tell which string a hash is of."""
    for i in range(len(hashes)):
        hashes[i] = absorb(key, np.uint64(1), data, starts[i], starts[i + 1])


@register_example
def _hash_one() -> None:
    key = HashKey(np.uint64(0), np.uint64(0))
    hash_strings(key, *StringColumn.empty(1), np.zeros(1, np.uint64))


@kernel
def _round(v0: Int, v1: Int, v2: Int, v3: Int) -> tuple[Int, Int, Int, Int]:
    v0 += v1
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 += v3
    v3 = _rotate(v3, 16) ^ v2
    v0 += v3
    v3 = _rotate(v3, 21) ^ v0
    v2 += v1
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@kernel
def _rotate(number: Int, bits: Int) -> Int:
    return (number << np.uint64(bits)) | (number >> np.uint64(64 - bits))
