"""Copies bytes inside kernels.

The indices are unsigned: an index that could be negative is checked for each byte, while without a
sign the compiler copies many bytes at once, five times as fast.
"""

import numpy as np

from pipelines.columnar.jit import Bytes, Int, kernel


@kernel
def copy(out: Bytes, p: Int, data: Bytes, begin: Int, size: Int) -> Int:
    """Copy `data[begin:begin + size]` to `out` at `p`; return the end of the copy."""
    to, of = np.uint64(p), np.uint64(begin)
    for i in range(np.uint64(size)):
        out[to + i] = data[of + i]
    return p + size
