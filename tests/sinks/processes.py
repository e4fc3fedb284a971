"""Sinks as processes of their own, to be killed, stopped and continued."""

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
    """`run_sink` in a process; inside a `with` block it runs, after it, it does not."""

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
        """What it and its predecessors with the same log have said."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and does not know it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, within_s: float) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(within_s)


def environment(settings: Settings) -> dict[str, str]:
    """What a process on these settings, and on nothing else of ours, finds in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | as_environment(settings)
