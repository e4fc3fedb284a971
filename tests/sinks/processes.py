"""Sinks as separate processes, which can be killed, stopped and continued."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from schemas.settings import _PORTS, PREFIX, SINK_PORT, Settings
from services.worker import as_environment
from tests.conftest import free_ports

_ROOT = Path(__file__).parents[2]
_RUN = (
    "from schemas.settings import read_settings; from sinks.run import run_sink; "
    "run_sink(read_settings())"
)


class SinkProcess:
    """`run_sink` in a process that runs within the block."""

    def __init__(self, settings: Settings, log: Path, run: str = _RUN) -> None:
        (self.port,) = free_ports(1)
        settings = msgspec.structs.replace(settings, port_base=self.port - _PORTS.index(SINK_PORT))
        self._environment = environment(settings)
        self._log = log
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._run],
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """The log of this process and of earlier ones with the same file."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Send SIGSTOP: the process does nothing, without noticing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | as_environment(settings)
