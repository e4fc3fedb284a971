"""Bytes copied inside kernels.

An index that could be negative would have to be looked at for each byte: without a sign, a
compiler copies many bytes at once, five times as fast.
"""

import numpy as np

from pipelines.columnar.jit import Bytes, Int, kernel


@kernel
def copy(out: Bytes, p: Int, data: Bytes, begin: Int, size: Int) -> Int:
    """Copy `data[begin:begin + size]` to `out` at `p`; returns where it ends."""
    to, of = np.uint64(p), np.uint64(begin)
    for i in range(np.uint64(size)):
        out[to + i] = data[of + i]
    return p + size
