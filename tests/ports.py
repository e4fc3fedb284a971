"""Ports for what tests start, which nothing else takes before it listens.

A port that was found free may be taken before it is used: by another process of tests, or by the
kernel for an outgoing connection. So each process of tests reserves a block of ports for as long as
it lives, below those that the kernel takes itself, and hands them out in turn.
"""

import atexit
import socket
from functools import cache
from pathlib import Path

from schemas.settings import PORTS_PER_SYSTEM

_HOST = "127.0.0.1"
_FIRST = 10_000
_BLOCK = 500
_KERNELS_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_KERNELS_FIRST = 32_768  # where the system does not say


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nothing listens on."""
    return [_block().take(1) for _ in range(count)]


def free_port_base() -> int:
    """Return an AVILA_PORT_BASE with which nothing else listens on any port of a system."""
    return _block().take(PORTS_PER_SYSTEM)


class _Block:
    """Consecutive ports that only this process hands out; its first is bound as a sign of that."""

    def __init__(self) -> None:
        for first in range(_FIRST, _kernels_first() - _BLOCK + 1, _BLOCK):
            sign = socket.socket()
            try:
                sign.bind((_HOST, first))
            except OSError:
                sign.close()
                continue
            atexit.register(sign.close)
            self._ports = range(first + 1, first + _BLOCK)
            self._next = self._ports.start
            return
        raise RuntimeError(f"no {_BLOCK} ports are left for another process of tests")

    def take(self, count: int) -> int:
        """Return the first of `count` ports; each is handed out again only after all others."""
        for _ in self._ports:
            if self._next + count > self._ports.stop:
                self._next = self._ports.start
            found = range(self._next, self._next + count)
            self._next += count
            if all(map(_is_free, found)):
                return found.start
        raise RuntimeError(f"no {count} consecutive ports of {self._ports} are free")


@cache
def _block() -> _Block:
    return _Block()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _kernels_first() -> int:
    if not _KERNELS_RANGE.exists():
        return _KERNELS_FIRST
    return int(_KERNELS_RANGE.read_text().split()[0])
