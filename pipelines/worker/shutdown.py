"""Bounds the time that a worker takes to stop.

A worker that stops commits what it has processed, which needs the broker. Without a broker it ends
all the same: its open transaction is aborted, and its successor processes those records again.
"""

import os
import sys
import threading
from typing import Final

import structlog

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 8.0


def exit_after(timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End the process with exit code 1 after `timeout_s`, unless it has ended by then."""
    timer = threading.Timer(timeout_s, _exit, args=(timeout_s,))
    timer.daemon = True
    timer.start()


def _exit(timeout_s: float) -> None:
    log.warning("ending without a commit: Kafka does not answer", waited_s=timeout_s)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that wait for Kafka cannot be interrupted, and an ordinary exit would join them.
    os._exit(1)
