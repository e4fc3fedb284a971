"""Rows in the order of numbers they have, those of one number as they came."""

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s


def order_of(numbers: Int32s) -> Int64s:
    """Their places in ascending order, none of them negative: as a stable `argsort` gives them.

    A number and its place are sorted as one, which is several times as fast: whole numbers are
    sorted by vector instructions, and nothing has to be stable.
    """
    placed = numbers.astype(np.int64) << 32 | np.arange(len(numbers))
    placed.sort()
    return placed & 0xFFFF_FFFF
