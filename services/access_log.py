"""The access log: one line a request, with its client, its path, its status and its duration.

A line contains no query, header, body or key, and no id of a person. The client's address is that
of the last machine that is not a trusted proxy. At most `MAX_PER_S` lines are written a second,
because anybody can cause them; the next line then counts the suppressed ones.
"""

import time
from collections.abc import Callable
from typing import Final, Literal, get_args

import structlog

from schemas.errors import Misconfigured

# Which requests are logged: none, those refused or failed, or all.
Level = Literal["none", "refused", "all"]

MAX_PER_S: Final = 200
_REFUSED: Final = 400

_log = structlog.get_logger("avila.access")


class AccessLog:
    """Writes lines with `write`; `clock` returns seconds. Use it from one thread."""

    def __init__(
        self,
        level: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[..., object] | None = None,
    ) -> None:
        """Raises `Misconfigured` if `level` does not exist."""
        if level not in get_args(Level):
            raise Misconfigured(
                f"AVILA_ACCESS_LOG is {level!r}; accepted are {', '.join(get_args(Level))}"
            )
        self._level = level
        self._clock = clock
        self._write = write or _log.info
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def wants(self, status: int | str) -> bool:
        """Return whether requests with this HTTP or gRPC status are logged."""
        return self._level == "all" or (self._level == "refused" and not _is_success(status))

    def line(self, status: int | str, seconds: float, **fields: object) -> None:
        """Write the line of a request, if requests with this status are logged."""
        if not self.wants(status):
            return
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == MAX_PER_S:
            self._suppressed += 1
            return
        self._written += 1
        if self._suppressed:
            fields["suppressed"] = self._suppressed
            self._suppressed = 0
        shown = status if isinstance(status, str) else int(status)
        self._write("request", status=shown, ms=round(seconds * 1_000, 2), **fields)


def _is_success(status: int | str) -> bool:
    return status == "OK" if isinstance(status, str) else status < _REFUSED
