"""The query service as a process: what `avila query` runs."""

import socket
from typing import Final

import structlog
import uvicorn

from schemas.errors import Misconfigured
from schemas.settings import QUERY_PORT, Settings
from services.query.app import make_query_app

log = structlog.get_logger(__name__)

_STOP_WITHIN_S: Final = 5
_BACKLOG: Final = 1024


def run_query(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests then have five seconds to end.

    Raises:
        Misconfigured: the port is taken.
    """
    port = settings.port(QUERY_PORT)
    with _listen(settings.host, port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                make_query_app(settings),
                http="httptools",
                loop="uvloop",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=_STOP_WITHIN_S,
            )
        )
        log.info("query service listens", host=settings.host, port=port)
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the query service cannot listen on {host}:{port}: {error.strerror}; stop what does, "
            "or give this system another AVILA_PORT_BASE"
        ) from error
    listener.listen(_BACKLOG)
    return listener
