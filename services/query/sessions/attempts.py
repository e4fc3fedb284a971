"""Bound how often sign-ins may fail: from one address, and from all together."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from schemas.errors import OverLimit

MAX_FAILURES: Final = 10
# Of all addresses together: what an attacker with many addresses may try.
MAX_ALL_FAILURES: Final = 600
PER_S: Final = 60.0
_MAX_CLIENTS: Final = 10_000
_SUBSCRIBER_BITS: Final = 64


class Attempts:
    """The failed attempts of each client: `MAX_FAILURES` at once, which return within `PER_S`.

    All clients together have `MAX_ALL_FAILURES`. An attempt that succeeds is never counted and
    never refused, so nobody can shut out another who comes from the same address. One network of
    IPv6 (/64) counts as one client, as its subscriber chooses among its addresses.

    Clients are remembered up to 10,000, those that failed last; `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._all = 0.0, clock()

    def failed(self, client: str) -> None:
        """Count a failed attempt.

        Raises:
            OverLimit: the client, or all clients together, have failed too often already; it is
                not counted then.
        """
        now, client = self._clock(), _network(client)
        own = _present(self._failures.get(client, (0.0, now)), now, MAX_FAILURES)
        everyone = _present(self._all, now, MAX_ALL_FAILURES)
        for failures, limit in ((own, MAX_FAILURES), (everyone, MAX_ALL_FAILURES)):
            if failures > limit - 1:
                wait = (failures - limit + 1) * PER_S / limit
                raise OverLimit(f"too many failed attempts to sign in: wait {wait:.0f} s", wait)
        self._all = everyone + 1, now
        self._failures[client] = own + 1, now
        self._failures.move_to_end(client)
        if len(self._failures) > _MAX_CLIENTS:
            self._failures.popitem(last=False)


def _present(before: tuple[float, float], now: float, limit: int) -> float:
    """Return how many of the failures at an earlier time still count."""
    failures, then = before
    return max(0.0, failures - (now - then) * limit / PER_S)


def _network(client: str) -> str:
    """Return what stands for a client: its address, or its subscriber's network of IPv6."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address) or address.ipv4_mapped:
        return client
    return f"{int(address) >> _SUBSCRIBER_BITS:x}::"
