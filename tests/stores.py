"""An embedded store for tests: the real process, on a free port, with a directory of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.ports import free_ports

_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0
# The store as `avila store` runs it, but on a port and with a number of handles of our choice, and
# not for longer than whoever started it, however that one ends.
_RUN = """
import os, sys, threading
from schemas.settings import Settings, read_settings
from services.store import server

Settings.port = lambda self, default: int(os.environ["STORE_PORT"])
server.HANDLES = int(os.environ["STORE_HANDLES"])
server.WAITING_PER_HANDLE = 1
threading.Thread(target=lambda: sys.stdin.read() or os._exit(1), daemon=True).start()
server.run_store(read_settings())
"""


@dataclass
class StoreProcess:
    """A running store. `kill` and `start` again to test a crash; `stop` is SIGTERM."""

    directory: Path
    port: int
    host: str = "127.0.0.1"
    user: str = "default"
    password: str = "of the tests"
    handles: int = 16
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def dsn(self) -> str:
        """For AVILA_CLICKHOUSE_DSN."""
        password = self.password.replace(" ", "%20")
        return f"http://{self.user}:{password}@{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AVILA_")}
        return kept | {
            "AVILA_DATA_DIR": str(self.directory),
            "AVILA_CLICKHOUSE_USER": self.user,
            "AVILA_CLICKHOUSE_PASSWORD": self.password,
            "STORE_PORT": str(self.port),
            "STORE_HANDLES": str(self.handles),
        }

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.launch()
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                with urlopen(f"{self.url}/ping", timeout=5) as answer:
                    assert answer.read() == b"Ok.\n"
                return
            except (URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    pytest.fail(f"the store did not start:\n{self.log()}")
                time.sleep(0.05)

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        with (self.directory / "store.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _RUN],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parent.parent,
            )

    def stop(self) -> int:
        """SIGTERM, then `wait`."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process; its exit code."""
        assert self._process is not None
        code = self._process.wait(_STOP_TIMEOUT_S)
        self._let_go()
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def log(self) -> str:
        return (self.directory / "store.log").read_text(errors="replace")


def new_store() -> StoreProcess:
    """A store, not yet started, in a directory that `remove_store` takes away."""
    return StoreProcess(Path(tempfile.mkdtemp(prefix="avila-store-")), free_ports(1)[0])


def remove_store(store: StoreProcess) -> None:
    """Kill the process and remove all it left."""
    store.kill()
    shutil.rmtree(store.directory)


@pytest.fixture(scope="session")
def store() -> Iterator[StoreProcess]:
    """One store for the whole run: each test makes a database of its own in it."""
    process = new_store()
    try:
        process.start()
        yield process
    finally:
        remove_store(process)
