"""The query service as a process: what `avila query` runs."""

from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from schemas.idle_memory import return_memory_when_idle
from schemas.settings import QUERY_GRPC_PORT, QUERY_PORT, Settings
from services.connections import Connection
from services.listening import grpc_address, listen
from services.query.app import make_query_app
from services.query.live.socket import MAX_MESSAGE_BYTES
from services.sockets import Protocol

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S: Final = 5


def run_query(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests then have five seconds to end.

    Raises:
        Misconfigured: a port is taken.
    """
    port = settings.port(QUERY_PORT)
    grpc_port = settings.port(QUERY_GRPC_PORT)
    # Checked before anything runs, so that a taken port is reported in one line.
    listen(settings.host, grpc_port, "query service").close()
    return_memory_when_idle()
    with listen(settings.host, port, "query service") as listener:
        app = make_query_app(settings, grpc_address=grpc_address(settings.host, grpc_port))
        server = uvicorn.Server(serving_config(app, settings.trusted_proxies))
        log.info("query_listening", host=settings.host, port=port)
        server.run(sockets=[listener])


def serving_config(app: ASGIApp, trusted_proxies: str = "") -> uvicorn.Config:
    """Return how `app` is served; `trusted_proxies` may name the clients behind them."""
    return uvicorn.Config(
        app,
        http=Connection,
        loop="uvloop",
        ws=Protocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )
