"""Shows the progress of a restore: a bar on a terminal, and log lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import Progress

log = structlog.get_logger(__name__)

_LOG_EVERY_S: Final = 5.0


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that takes a table's name and the share (0 to 1) that it has read.

    A table may read several topics, each from 0 to 1. A restore of less than 5 s is not logged.
    """
    # Faust redirects sys.stderr to its log.
    console = Console(file=sys.__stderr__)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"restoring {what}", total=1.0)
        logged_at = time.monotonic()

        def show(table: str, share: float) -> None:
            nonlocal logged_at
            progress.update(bar, completed=share, description=f"restoring {table} of {what}")
            if time.monotonic() - logged_at >= _LOG_EVERY_S:
                logged_at = time.monotonic()
                log.info("restoring", of=what, table=table, read=f"{share:.0%}")

        yield show
