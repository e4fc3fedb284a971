"""Compiles kernels in processes of their own, several at once.

A process that has compiled all kernels keeps half a gigabyte of the compiler's memory. One that
loads them from the cache does not, so a worker leaves compiling to processes that end afterwards.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_ROOT: Final = Path(__file__).parents[2]
_NUMBER_BYTES: Final = 4  # of a call; a pipe is read so much at a time by one process
# Each takes half a gigabyte.
_MAX_PROCESSES: Final = 4


def compile_in_processes(calls: Sequence[int], command: Sequence[str]) -> None:
    """Make the calls with these numbers in new processes, and wait for their end.

    `command` runs `make_calls` in a new process, with the last argument as its descriptor. The
    processes take the next call from a pipe when they are done with one. They end with this
    process. A process that fails is logged, and leaves its call to the caller.
    """
    reading, writing = os.pipe()
    os.write(writing, b"".join(number.to_bytes(_NUMBER_BYTES, "little") for number in calls))
    os.close(writing)
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    processes = [
        subprocess.Popen(  # noqa: S603 (our own command line)
            [sys.executable, *command, str(reading)],
            stdin=subprocess.PIPE,
            pass_fds=[reading],
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(min(len(os.sched_getaffinity(0)), len(calls), _MAX_PROCESSES))
    ]
    os.close(reading)
    for process in processes:
        if code := process.wait():
            log.warning("a process that compiles kernels failed", code=code)
        assert process.stdin is not None
        process.stdin.close()


def make_calls(calls: Sequence[Callable[[], None]], descriptor: int) -> None:
    """Make those of `calls` whose numbers come from a pipe, until it is empty.

    Ends the process at once when its parent, which holds the other end of its input, has ended.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while number := os.read(descriptor, _NUMBER_BYTES):
        calls[int.from_bytes(number, "little")]()


def _end_with_parent() -> None:
    # Not through `sys.stdin`: an exit would wait for the lock of its buffer.
    while os.read(0, 1):
        pass
    os._exit(1)
