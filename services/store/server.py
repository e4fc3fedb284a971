"""The store as a process: what `avila store` runs."""

import contextlib
import signal
from collections.abc import Iterator

import structlog
import uvicorn

from schemas.settings import STORE_PORT, Settings
from services.connections import Connection
from services.data_directory import prepare_data_dir
from services.listening import listen
from services.store.app import HANDLES, KEEP_ALIVE_S, WAITING_PER_HANDLE, make_app
from services.store.engine import Engine
from services.store.projects import ProjectUsers
from sinks.store_password import store_password

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S = 3
_STOPS = (signal.SIGTERM, signal.SIGINT)


def run_store(settings: Settings) -> None:
    """Serve the store until SIGTERM or SIGINT; running queries then have three seconds to end.

    Raises:
        Misconfigured: the port is taken, or the directory is in use or unusable.
    """
    prepare_data_dir(settings.data_dir)
    port = settings.port(STORE_PORT)
    with listen(settings.host, port, "store") as listener:
        engine = Engine(
            settings.data_dir / "store", handles=HANDLES, waiting=HANDLES * WAITING_PER_HANDLE
        )
        engine.open()
        app = make_app(
            engine, settings.clickhouse_user, store_password(settings), ProjectUsers(settings)
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                loop="uvloop",
                ws="none",
                access_log=False,
                log_config=None,
                log_level="critical",
                timeout_keep_alive=KEEP_ALIVE_S,
                server_header=False,
                timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            )
        )
        with _ignoring_the_raised_signal():
            server.run(sockets=[listener])


@contextlib.contextmanager
def _ignoring_the_raised_signal() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after it has stopped."""
    before = {number: signal.signal(number, lambda *_: None) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
