"""Listen on a socket, and read the addresses of clients."""

import socket
from typing import Final

from starlette.types import Scope

from schemas.errors import Misconfigured

_BACKLOG: Final = 2048


def listen(host: str, port: int, service: str) -> socket.socket:
    """Return a listening socket; `service` is a name for error messages.

    Raises:
        Misconfigured: another process listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the {service} cannot listen on {host}:{port}: {error.strerror}; stop the "
            "process that does, or set another AVILA_PORT_BASE"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def grpc_address(host: str, port: int) -> str:
    """Return the address in gRPC's notation, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_of(scope: Scope) -> str:
    """Return the client's address, from trusted proxies if there are any; "" if unknown."""
    return scope["client"][0] if scope["client"] else ""
