"""Columns that grow where they are, into address space that was set aside for them.

A column that is full and moves to a larger place is copied as a whole, while persons come in again
and again: that was a quarter of a worker's time. So a large one is given many times the addresses
that it needs. They take no memory until something is written there, so that growing is to look at
more of the same place.
"""

import contextlib
import math
import mmap
import platform
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Column = TypeVar("Column", bound=NDArray[Any])

# A column below is cheap to copy, and there are many such: definitions that hardly anybody uses.
_LARGE_BYTES: Final = 1 << 20
# So a column moves a few times in its life, however large it gets. Addresses are plenty: 128 TB.
_ROOM: Final = 128
# Memory that is not there may be promised; `mmap` names it only from Python 3.13 on.
_PROMISED: Final[int] = getattr(
    mmap,
    "MAP_NORESERVE",
    0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0,
)


def grown(column: Column, least: int) -> Column:
    """`column` if it has `least` rows, else one at least half as long again; new rows are 0.

    The rows that there were may stay where they are: the old column is not to be used any more.
    """
    if len(column) >= least:
        return column
    rows = max(least, len(column) * 3 // 2)
    place = _place(column)
    if place is not None and len(place) >= rows:
        return place[:rows]  # type: ignore[return-value]
    larger = _room(rows, column)
    larger[: len(column)] = column
    return larger  # type: ignore[return-value]


def _place(column: NDArray[Any]) -> NDArray[Any] | None:
    """The rows that a column has addresses for, if it was given more than it needed."""
    place = column.base
    addresses: object = None if place is None else place.base
    if place is None or not isinstance(addresses, mmap.mmap):
        return None
    begins = place.ctypes.data == column.ctypes.data
    alike = place.dtype == column.dtype and place.shape[1:] == column.shape[1:]
    return place if begins and alike else None


@cache
def addresses_are_free() -> bool:
    """Whether addresses that nothing is written to cost nothing: no limit counts them."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return False
    try:
        strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True
    return not strict


def _room(rows: int, like: NDArray[Any]) -> NDArray[Any]:
    """So many rows of zeros, with addresses for more if they are many."""
    shape = like.shape[1:]
    size = rows * like.dtype.itemsize * math.prod(shape)
    if size >= _LARGE_BYTES and addresses_are_free():
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _PROMISED
        try:
            addresses = mmap.mmap(-1, _ROOM * size, flags=flags)
        except OSError:
            pass  # a system that promises no more than it has
        else:
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # a kernel without
                    addresses.madvise(mmap.MADV_HUGEPAGE)
            return np.ndarray((_ROOM * rows, *shape), like.dtype, addresses)[:rows]
    return np.zeros((rows, *shape), like.dtype)
