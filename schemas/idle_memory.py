"""Gives memory back to the system while a process has little to do.

glibc keeps what is freed for the next allocation, and so does pyarrow. That is right under load,
but a process at rest then keeps the memory of its busiest second.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

_LOOK_EVERY_S: Final = 20.0
# Of a core. A process at rest uses less, one under load more.
_IDLE_SHARE: Final = 0.05
# Less work leaves little to return.
_MIN_WORK_S: Final = 1.0


class IdleWatch:
    """Decides when a process that has worked is idle: once after each busy time.

    It is idle when it has used less than a twentieth of a core since the last look.
    """

    def __init__(self) -> None:
        self._looked_at = self._cpu_s = self._returned_cpu_s = 0.0

    def is_due(self, now_s: float, cpu_s: float) -> bool:
        """Look at the clock and the CPU time of the process: return whether to return memory."""
        share = (cpu_s - self._cpu_s) / max(now_s - self._looked_at, 1e-9)
        self._looked_at, self._cpu_s = now_s, cpu_s
        if share >= _IDLE_SHARE or cpu_s - self._returned_cpu_s < _MIN_WORK_S:
            return False
        self._returned_cpu_s = cpu_s
        return True


def return_memory_when_idle() -> None:
    """Return freed memory to the system after each busy time, from a thread; does not block.

    Does nothing where the C library cannot return memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_watch, args=(trim,), name="idle memory", daemon=True).start()


def _watch(trim: Callable[[int], int]) -> None:
    watch = IdleWatch()
    while True:
        time.sleep(_LOOK_EVERY_S)
        if watch.is_due(time.monotonic(), time.process_time()):
            if arrow := sys.modules.get("pyarrow"):  # no reason to import it
                arrow.default_memory_pool().release_unused()
            trim(0)
