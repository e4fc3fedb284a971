"""Columns that grow in place, into address space that is reserved for them.

Copying a full column to a larger one each time that persons are added took a quarter of a worker's
time. So a large column reserves many times the addresses that it needs. Addresses take no memory
until something is written to them, so that to grow means to use more of the same mapping.
"""

import contextlib
import math
import mmap
import platform
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from pipelines.columnar.jit import AnyArray

Column = TypeVar("Column", bound=AnyArray)

# Smaller columns are cheap to copy, and there are many: of definitions that few persons match.
_LARGE_BYTES: Final = 1 << 20
# A column moves a few times in its life, however large it becomes; there are 128 TB of addresses.
_RESERVED: Final = 128  # times the size
# Lets the system promise more memory than it has; `mmap` names the flag only from Python 3.13 on.
_NO_RESERVE: Final[int] = getattr(
    mmap,
    "MAP_NORESERVE",
    0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0,
)


def grown(column: Column, least: int) -> Column:
    """Return `column` if it has `least` rows, else one that is at least half as long again.

    New rows are 0. The result may share memory with `column`, which must not be used afterwards.
    """
    if len(column) >= least:
        return column
    rows = max(least, len(column) * 3 // 2)
    reserved = _reserved(column)
    if reserved is not None and len(reserved) >= rows:
        return reserved[:rows]  # type: ignore[return-value] # of the same dtype and shape
    larger = _allocate(rows, column)
    larger[: len(column)] = column
    return larger  # type: ignore[return-value] # of the same dtype and shape


def _reserved(column: AnyArray) -> AnyArray | None:
    """Return all rows that the column has addresses for, if it has reserved any."""
    whole = column.base
    addresses: object = None if whole is None else whole.base
    if whole is None or not isinstance(addresses, mmap.mmap):
        return None
    same_begin = whole.ctypes.data == column.ctypes.data
    same_rows = whole.dtype == column.dtype and whole.shape[1:] == column.shape[1:]
    return whole if same_begin and same_rows else None


@cache
def addresses_are_free() -> bool:
    """Return whether unused addresses cost nothing: no limit of the process counts them."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return False
    try:
        strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True
    return not strict


def _allocate(rows: int, like: AnyArray) -> AnyArray:
    """Return rows of zeros; if they are large, with addresses reserved for more."""
    shape = like.shape[1:]
    size = rows * like.dtype.itemsize * math.prod(shape)
    if size >= _LARGE_BYTES and addresses_are_free():
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        try:
            addresses = mmap.mmap(-1, _RESERVED * size, flags=flags)
        except OSError:
            pass  # the system promises no more memory than it has
        else:
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # a system kernel without huge pages
                    addresses.madvise(mmap.MADV_HUGEPAGE)
            return np.ndarray((_RESERVED * rows, *shape), like.dtype, addresses)[:rows]
    return np.zeros((rows, *shape), like.dtype)
