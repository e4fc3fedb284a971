"""The query service as a process: what `avila query` runs."""

from typing import Final

import structlog
import uvicorn

from schemas.settings import QUERY_PORT, Settings
from services.listening import listen
from services.query.app import make_query_app

log = structlog.get_logger(__name__)

_STOP_WITHIN_S: Final = 5


def run_query(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests then have five seconds to end.

    Raises:
        Misconfigured: the port is taken.
    """
    port = settings.port(QUERY_PORT)
    with listen(settings.host, port, "query service") as listener:
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
