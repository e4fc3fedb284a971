"""How far a restore is: a bar where somebody looks at a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import Progress

log = structlog.get_logger(__name__)

_TOLD_EVERY_S: Final = 5.0


@contextmanager
def told(what: str) -> Iterator[Callable[[str, float], None]]:
    """Yield what is to be called with a table's name and the share (0 to 1) that it has read.

    A table may read several topics, each from 0 on. What takes less than some seconds is not told.
    """
    # Faust has taken the others for its log.
    console = Console(file=sys.__stderr__)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"restoring {what}", total=1.0)
        said_at = time.monotonic()

        def tell(table: str, share: float) -> None:
            nonlocal said_at
            progress.update(bar, completed=share, description=f"restoring {table} of {what}")
            if time.monotonic() - said_at >= _TOLD_EVERY_S:
                said_at = time.monotonic()
                log.info("restoring", of=what, table=table, read=f"{share:.0%}")

        yield tell
