"""Helpers for tests of whole processes: who runs, and conditions that become true."""

import os
import time
from collections.abc import Callable

import psutil


def pause_s(started: float) -> float:
    """Return how long to wait before asking again, with `started` of the monotonic clock.

    A tenth of the wait so far, between 20 and 250 ms: each question costs CPU time, of which what
    is awaited would make more use.
    """
    return min(0.25, max(0.02, (time.monotonic() - started) / 10))


def eventually(holds: Callable[[], bool], within_s: float) -> bool:
    """Return whether `holds` becomes true in time."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() > started + within_s:
            return False
        time.sleep(pause_s(started))
    return True


def processes_of_session(session: int) -> list[psutil.Process]:
    """Return the running processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found
