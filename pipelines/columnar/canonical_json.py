"""Recognize JSON objects that are canonical already, as nearly all are; see `schemas.json_text`."""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int64s, UInt64s, kernel
from pipelines.columnar.json_scan import byte_at, skip_to

MAX_KEYS: Final = 128
MAX_LEVELS: Final = 62  # one bit each in 64
# More digits may exceed 64 bits, or the whole numbers that a double holds exactly.
_MAX_INT_DIGITS: Final = 18
_MAX_WHOLE_DIGITS: Final = 15

_FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)


class Scratch(NamedTuple):
    """Memory for `is_canonical`, which can allocate none. Use it from one thread."""

    keys: UInt64s  # hashes of the keys of all open objects
    firsts: Int64s  # by level, the index of its first key


def scratch(max_keys: int = MAX_KEYS) -> Scratch:
    """Return memory for `is_canonical`: texts with more keys are not recognized."""
    return Scratch(np.empty(max_keys, np.uint64), np.empty(MAX_LEVELS, np.int64))


@kernel
def is_canonical(
    data: Bytes, begin: Int, size: Int, max_bytes: Int, max_depth: Int, scratch: Scratch
) -> bool:
    """Return whether valid JSON is an object within the bounds and surely in canonical form.

    False for everything that needs thought: keys that are the same or have the same hash, escapes
    in keys, very many keys, exponents, -0, and numbers of very many digits.
    """
    if size > max_bytes or size < 2 or data[begin] != ord("{"):
        return False
    end = begin + size
    keys = np.int64(0)
    level = np.int64(-1)
    objects = np.int64(0)  # a bit for each level: whether it is an object
    key_is_next = False
    p = begin
    while p < end:
        byte = data[p]
        if byte == ord('"'):
            first = p + 1
            p = skip_to(data, first, end, False)
            escaped = byte_at(data, p, end) == ord("\\")
            while byte_at(data, p, end) == ord("\\"):
                p = skip_to(data, p + 2, end, False)
            if key_is_next:
                key_is_next = False
                if escaped or keys == len(scratch.keys):
                    return False
                key = _hash(data, first, p)
                for other in range(scratch.firsts[level], keys):
                    if scratch.keys[other] == key:
                        return False
                scratch.keys[keys] = key
                keys += 1
            p += 1
        elif byte == ord("{") or byte == ord("["):
            level += 1
            if level >= min(max_depth, MAX_LEVELS):
                return False
            key_is_next = byte == ord("{")
            objects = objects << 1 | key_is_next
            scratch.firsts[level] = keys
            p += 1
        elif byte == ord("}") or byte == ord("]"):
            if level < 0:
                return False
            keys = scratch.firsts[level]
            level -= 1
            objects >>= 1
            key_is_next = False
            p += 1
        elif byte == ord(","):
            key_is_next = objects & 1 != 0
            p += 1
        elif byte == ord("-") or ord("0") <= byte <= ord("9"):
            p = _end_of_number(data, p, end)
            if p < 0:
                return False
        else:
            p += 1
    return True


@kernel
def _hash(data: Bytes, begin: Int, end: Int) -> Int:
    """FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/."""
    value = _FNV_BASIS
    for p in range(begin, end):
        value = (value ^ np.uint64(data[p])) * _FNV_PRIME
    return value


@kernel
def _end_of_number(data: Bytes, p: Int, end: Int) -> Int:
    """Return where the number at `p` ends; less than 0 if it needs thought."""
    is_zero = data[p] == ord("-")  # -0 is 0 in canonical form
    if is_zero:
        p += 1
    first = p
    is_zero = is_zero and data[p] == ord("0")
    while p < end and ord("0") <= data[p] <= ord("9"):
        p += 1
    digits = p - first
    if byte_at(data, p, end) == ord("."):
        if digits > _MAX_WHOLE_DIGITS:
            return np.int64(-1)
        p += 1
        while p < end and ord("0") <= data[p] <= ord("9"):
            is_zero = is_zero and data[p] == ord("0")
            p += 1
    elif digits > _MAX_INT_DIGITS:
        return np.int64(-1)
    byte = byte_at(data, p, end)
    return np.int64(-1) if is_zero or byte == ord("e") or byte == ord("E") else p
