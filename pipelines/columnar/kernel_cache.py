"""The cache of a kernel's machine code on disk, which several processes may fill at once."""

import fcntl
import os
from typing import Any

from numba.core.caching import IndexDataCacheFile


class KernelCacheFile(IndexDataCacheFile):  # type: ignore[misc] # Numba has no types
    """Numba's file, with saves one after another.

    A save reads the index, adds an entry, and writes both back. Two processes that did so at once
    would give two entries the same data file, and a kernel would run the code of another type.
    """

    def save(self, key: Any, data: Any) -> None:  # of types that only Numba knows
        """Save one entry; wait while another process saves into the same directory."""
        directory = os.open(self._cache_path, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            super().save(key, data)
        finally:
            os.close(directory)
