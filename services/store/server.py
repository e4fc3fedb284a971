"""The store as a process: what `avila store` runs."""

import contextlib
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from schemas.errors import Misconfigured
from schemas.settings import STORE_PORT, Settings
from services.connections import Connection
from services.store.app import HANDLES, WAITING_PER_HANDLE, make_app
from services.store.engine import Engine

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S = 3
_BACKLOG = 1024
_STOPS = (signal.SIGTERM, signal.SIGINT)


def run_store(settings: Settings) -> None:
    """Serve the store until SIGTERM or SIGINT; running queries then have three seconds to end.

    Raises:
        Misconfigured: the port is taken, or the directory is in use or cannot be used.
    """
    port = settings.port(STORE_PORT)
    with _listen(settings.host, port) as listener:
        engine = Engine(
            settings.data_dir / "store", handles=HANDLES, waiting=HANDLES * WAITING_PER_HANDLE
        )
        engine.open()
        password = str.__str__(settings.clickhouse_password)
        app = make_app(engine, settings.clickhouse_user, password)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                loop="uvloop",
                ws="none",
                access_log=False,
                log_config=None,
                log_level="critical",
                server_header=False,
                timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            )
        )
        with _signals_end_the_server_only():
            server.run(sockets=[listener])


@contextlib.contextmanager
def _signals_end_the_server_only() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more at its end; this takes it."""
    before = {number: signal.signal(number, lambda *_: None) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the store cannot listen on {host}:{port}: {error.strerror}; stop what does, or give "
            "this system another AVILA_PORT_BASE"
        ) from error
    listener.listen(_BACKLOG)
    return listener
