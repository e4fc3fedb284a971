"""Where a service listens, who is told if it cannot, and who calls."""

import socket
from typing import Final

from starlette.types import Scope

from schemas.errors import Misconfigured

_BACKLOG: Final = 2048


def listen(host: str, port: int, service: str) -> socket.socket:
    """Return a socket on which `service` (a name for people) may be called from now on.

    Raises:
        Misconfigured: something else listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the {service} cannot listen on {host}:{port}: {error.strerror}; stop what does, "
            "or give this system another AVILA_PORT_BASE"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def grpc_address(host: str, port: int) -> str:
    """The address as gRPC wants it: of IPv6, the host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_of(scope: Scope) -> str:
    """The address of whoever calls, as far as the server believes it; empty if none is known."""
    return scope["client"][0] if scope["client"] else ""
