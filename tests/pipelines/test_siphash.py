"""The hash of kernels is SipHash-1-3."""

import random
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.columnar.siphash import HashKey, hash_strings, siphash
from pipelines.columnar.string_column import StringColumn

_MASK: Final = 2**64 - 1


def reference(key: bytes, message: bytes) -> int:
    """SipHash-1-3 as its paper writes it, on Python's numbers."""
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(number: int, bits: int) -> int:
        return (number << bits | number >> (64 - bits)) & _MASK

    def mix() -> None:
        v[0] = (v[0] + v[1]) & _MASK
        v[2] = (v[2] + v[3]) & _MASK
        v[1] = rotate(v[1], 13) ^ v[0]
        v[3] = rotate(v[3], 16) ^ v[2]
        v[0] = rotate(v[0], 32)
        v[2] = (v[2] + v[1]) & _MASK
        v[0] = (v[0] + v[3]) & _MASK
        v[1] = rotate(v[1], 17) ^ v[2]
        v[3] = rotate(v[3], 21) ^ v[0]
        v[2] = rotate(v[2], 32)

    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) % 256])
    for begin in range(0, len(padded), 8):
        word = int.from_bytes(padded[begin : begin + 8], "little")
        v[3] ^= word
        mix()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        mix()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_it_is_the_one_of_the_paper() -> None:
    chance = random.Random(5)
    for _ in range(50):
        numbers = [chance.getrandbits(64) for _ in range(5)]
        key = HashKey(*map(np.uint64, numbers[:2]))
        texts = [number.to_bytes(8, "little") for number in numbers]
        found = siphash(key, *map(np.uint64, numbers[2:]))
        assert int(found) == reference(b"".join(texts[:2]), b"".join(texts[2:]))


def test_strings_are_hashed_word_by_word_with_their_length() -> None:
    key = bytes(range(16))
    names = ["", "ann", "12345678", "123456789", "x" * 40, "ann\0"]

    def chained(name: str) -> int:
        data, hashed = name.encode(), 1
        for begin in range(0, max(len(data), 1), 8):
            words = (hashed, int.from_bytes(data[begin : begin + 8], "little"), len(data))
            hashed = reference(key, b"".join(word.to_bytes(8, "little") for word in words))
        return hashed

    hashes = np.zeros(len(names), np.uint64)
    of = HashKey(*(np.uint64(int.from_bytes(key[i : i + 8], "little")) for i in (0, 8)))
    hash_strings(of, *StringColumn.of(pa.array(names)), hashes)
    assert hashes.tolist() == [chained(name) for name in names]
    assert len(set(hashes.tolist())) == len(names)
