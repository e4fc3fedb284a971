"""Resolves the names of receivers, so that a name server which does not answer delays nobody else.

A lookup occupies a thread until the system's resolver gives up, long after we have. So lookups have
threads of their own, and all requests to one host wait for the same lookup.
"""

import asyncio
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final

_TIMEOUT_S: Final = 5.0
_THREADS: Final = 64

_pool: Final = ThreadPoolExecutor(_THREADS, "resolver")
_lock: Final = Lock()
_running: Final[dict[tuple[str, int], "Future[list[str]]"]] = {}


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the resolver's order.

    Raises:
        OSError: there are none, or the resolver has not answered within 5 seconds.
        ValueError: it is no name of a host.
    """
    key = (host, port)
    with _lock:
        found = _running.get(key)
        if found is None:
            found = _running[key] = _pool.submit(_look_up, host, port)
    found.add_done_callback(lambda done: _forget(key, done))
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            # Shielded: one request that gives up must not end the lookup of the others.
            return await asyncio.shield(asyncio.wrap_future(found))
    except TimeoutError:
        raise OSError(f"{host} cannot be resolved within {_TIMEOUT_S:.0f} s") from None


def _forget(key: tuple[str, int], done: "Future[list[str]]") -> None:
    with _lock:
        if _running.get(key) is done:
            del _running[key]


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(f"{host} cannot be resolved: {error.strerror}") from None
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
