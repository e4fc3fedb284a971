"""A line in the log for a request: who asked for what and what came of it, and nothing they sent.

No line holds a query, a header, a body or a key; an address is that of the last machine that is not
a trusted proxy. A stranger can ask for as many lines as they like, so that there are so many a
second at most; the next one then says how many were left out.
"""

import time
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import structlog

from schemas.errors import Misconfigured

# Which requests have a line: none, those that are refused or fail, or all of them.
Level = Literal["none", "refused", "all"]

MAX_PER_S: Final = 200
_REFUSED: Final = 400

_log = structlog.get_logger("avila.access")


class AccessLog:
    """Writes lines; `clock` is in seconds, and `write` takes a line's fields. For one thread."""

    def __init__(
        self,
        level: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[..., Any] | None = None,
    ) -> None:
        """Raises `Misconfigured` for a level that there is none of."""
        if level not in get_args(Level):
            raise Misconfigured(
                f"AVILA_ACCESS_LOG is {level!r}; accepted are {', '.join(get_args(Level))}"
            )
        self._level = level
        self._clock = clock
        self._write = write or _log.info
        self._second = 0
        self._written = 0
        self._left_out = 0

    def wants(self, status: int | str) -> bool:
        """Whether a request of that HTTP or gRPC status has a line."""
        return self._level == "all" or (self._level == "refused" and not _good(status))

    def line(self, status: int | str, seconds: float, **fields: Any) -> None:
        """Write a line for a request, if its status is one that has any."""
        if not self.wants(status):
            return
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == MAX_PER_S:
            self._left_out += 1
            return
        self._written += 1
        if self._left_out:
            fields["left_out"] = self._left_out
            self._left_out = 0
        shown = status if isinstance(status, str) else int(status)
        self._write("request", status=shown, ms=round(seconds * 1_000, 2), **fields)


def _good(status: int | str) -> bool:
    return status == "OK" if isinstance(status, str) else status < _REFUSED
