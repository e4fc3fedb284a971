"""Compiles the kernels before a worker connects to the broker.

The first start on a machine compiles them, later ones read what is cached beside the modules. An
open transaction would time out while a kernel compiles, so a worker compiles all of them first, and
logs a warning for each one that is compiled later all the same.

This module knows no kernel: modules register theirs with `columnar.jit` when they are imported.
"""

import time
from typing import Final

import structlog
from numba.core import event

from pipelines.columnar import jit

log = structlog.get_logger(__name__)

_COMPILE_EVENT: Final = "numba:compile"


def precompile() -> None:
    """Compile the kernels of every module that is imported by now.

    Takes up to minutes the first time on a machine, seconds when they are cached.
    """
    started = time.monotonic()
    log.info("compiling kernels that are not cached")
    with event.install_recorder(_COMPILE_EVENT) as compiled:
        for call in jit.examples():
            call()
    begun = sum(compiling.is_start for _, compiling in compiled.buffer)
    log.info("kernels ready", compiled=begun, seconds=round(time.monotonic() - started, 1))


def warn_of_late_compiles() -> None:
    """Log a warning for each kernel that is compiled from now on: no registered call covers it."""
    event.register(_COMPILE_EVENT, _LateCompiles())


class _LateCompiles(event.Listener):  # type: ignore[misc] # Numba has no types
    def on_start(self, event: event.Event) -> None:
        """Log which kernel is being compiled, and for which types."""
        kernel = event.data["dispatcher"].py_func
        log.warning(
            "kernel compiled late",
            kernel=f"{kernel.__module__}.{kernel.__name__}",
            types=event.data["args"],
        )

    def on_end(self, event: event.Event) -> None:
        """Do nothing: the start was logged."""
