"""Compiles the kernels before a worker connects to the broker.

The first start on a machine compiles them, later ones read what is cached beside the modules. An
open transaction would time out while a kernel compiles, so a worker has all of them compiled first,
by processes that end afterwards, and logs a warning for each one that it compiles later itself.

This module knows no kernel: modules register theirs with `columnar.jit` when they are imported.
"""

import time
from collections.abc import Sequence
from typing import Final

import structlog
from numba.core import event

from pipelines.columnar import jit
from pipelines.worker.compile_processes import compile_in_processes, make_calls

log = structlog.get_logger(__name__)

_COMPILE_EVENT: Final = "numba:compile"
# Runs `compile_for_another`, with all kernels of a worker imported.
_COMPILE: Final = ("-m", "pipelines", "compile")


class _NotCompiledError(Exception):
    """A kernel is not in the cache."""


def precompile() -> None:
    """Load the kernels of every module that is imported by now; compile those not cached.

    Takes up to minutes the first time on a machine, a second when they are cached.
    """
    started = time.monotonic()
    calls = jit.examples()
    # Modules that others import come first, and the calls of the largest kernels late. Those are to
    # begin first, so that all processes end at about the same time.
    missing = [number for number in reversed(range(len(calls))) if not _is_cached(number)]
    if missing:
        log.info("compiling kernels that are not cached", calls=len(missing))
        compile_in_processes(missing, _COMPILE)
    with event.install_recorder(_COMPILE_EVENT) as compiled:
        for number in missing:
            calls[number]()
    late = sum(compiling.is_start for _, compiling in compiled.buffer)
    log.info(
        "kernels ready",
        compiled=len(missing),
        compiled_here=late,
        seconds=round(time.monotonic() - started, 1),
    )


def compile_for_another(arguments: Sequence[str]) -> None:
    """Compile the kernels that another process asks for: see `compile_in_processes`."""
    make_calls(jit.examples(), int(arguments[-1]))


def _is_cached(number: int) -> bool:
    """Make one of the registered calls, which loads its kernels, unless one must be compiled."""
    try:
        with event.install_listener(_COMPILE_EVENT, _RefuseCompiles()):
            jit.examples()[number]()
    except _NotCompiledError:
        return False
    return True


def warn_of_late_compiles() -> None:
    """Log a warning for each kernel that is compiled from now on: no registered call covers it."""
    event.register(_COMPILE_EVENT, _LateCompiles())


class _RefuseCompiles(event.Listener):  # type: ignore[misc] # Numba has no types
    def on_start(self, event: event.Event) -> None:
        """Leave the call before the compiler has begun."""
        raise _NotCompiledError(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: event.Event) -> None:
        """Do nothing: nothing was compiled."""


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
