"""Tells a worker that is fenced now and then from one whose id another worker uses."""

import time
from typing import Final

from schemas.errors import Misconfigured

_MAX_FENCED: Final = 3
_WITHIN_S: Final = 60.0


class Fencing:
    """Counts how often a producer was fenced within the last minute."""

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id
        self._fenced_at: list[float] = []

    def note(self) -> None:
        """Note that the producer was fenced."""
        now = time.monotonic()
        recent = [at for at in self._fenced_at if now - at < _WITHIN_S]
        self._fenced_at = [*recent, now]

    def check(self) -> None:
        """Return if that may happen once more.

        Raises:
            Misconfigured: another worker runs under the same id.
        """
        if len(self._fenced_at) > _MAX_FENCED:
            raise Misconfigured(
                f"the transactions of {self._transactional_id!r} were fenced "
                f"{len(self._fenced_at)} times within {_WITHIN_S:.0f} s: another worker "
                "runs under the same id; give each its own AVILA_WORKER_ID"
            )
