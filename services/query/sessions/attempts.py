"""Bounds how often one client may try to sign in."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from schemas.errors import OverLimit

MAX_FAILURES: Final = 10
PER_S: Final = 60.0
_MAX_CLIENTS: Final = 10_000


class Attempts:
    """The failed attempts of each client: `MAX_FAILURES` at once, which return within `PER_S`.

    Clients are remembered up to 10,000, those that failed last; `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Return if a client may try; raises `OverLimit` if it has failed too often."""
        failures = self._present(client)
        if failures > MAX_FAILURES - 1:
            wait = (failures - MAX_FAILURES + 1) * PER_S / MAX_FAILURES
            raise OverLimit(f"too many failed attempts to sign in: wait {wait:.0f} s", wait)

    def failed(self, client: str) -> None:
        """Count a failed attempt."""
        self._failures[client] = self._present(client) + 1, self._clock()
        self._failures.move_to_end(client)
        if len(self._failures) > _MAX_CLIENTS:
            self._failures.popitem(last=False)

    def _present(self, client: str) -> float:
        failures, then = self._failures.get(client, (0.0, 0.0))
        return max(0.0, failures - (self._clock() - then) * MAX_FAILURES / PER_S)
