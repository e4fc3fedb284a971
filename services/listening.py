"""A socket to serve on, and who is told if there is none."""

import socket
from typing import Final

from schemas.errors import Misconfigured

_BACKLOG: Final = 1024


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
