"""Helpers for tests of whole processes: who runs, and conditions that become true."""

import os
import time
from collections.abc import Callable

import psutil


def eventually(holds: Callable[[], bool], within_s: float) -> bool:
    """Return whether `holds` becomes true in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
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
