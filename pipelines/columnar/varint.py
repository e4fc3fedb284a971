"""Encodes integers in as few bytes as they need, seven bits a byte, the lowest first.

Formats: the variable-length and zigzag encodings of Protocol Buffers,
https://protobuf.dev/programming-guides/encoding/
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, kernel

LONGEST: Final = 10  # bytes of a number


@kernel
def put(out: Bytes, p: Int, number: Int) -> Int:
    """Write a number that is not negative at `p`, in at most `LONGEST` bytes; return its end."""
    rest = np.uint64(number)
    while rest >= np.uint64(128):
        out[p] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
        rest >>= np.uint64(7)
        p += 1
    out[p] = np.uint8(rest)
    return p + 1


@kernel
def put_signed(out: Bytes, p: Int, number: Int) -> Int:
    """Write any number in zigzag encoding, short if it is near 0; return its end."""
    return put(out, p, (number << 1) ^ (number >> 63))


@kernel
def get(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """Return the number at `p`, and its end.

    If the data ends within the number, the number is 0 and its end lies past `end`.
    """
    number = np.uint64(0)
    shift = np.uint64(0)
    while p < end:
        byte = data[p]
        p += 1
        number |= np.uint64(byte & 127) << shift
        if byte < 128:
            return np.int64(number), p
        shift += np.uint64(7)
    return np.int64(0), end + 1


@kernel
def get_signed(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """Return the number that `put_signed` wrote at `p`, and its end; see `get`."""
    number, p = get(data, p, end)
    unsigned = np.uint64(number)
    return np.int64(unsigned >> np.uint64(1)) ^ -np.int64(number & 1), p
