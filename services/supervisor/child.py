"""One part of the system as a process: started, restarted after a pause, stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured
from schemas.settings import Settings
from services.child_process import MISCONFIGURED, reap, spawn
from services.worker import as_environment

_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
_STEADY_AFTER_S: Final = 60.0
_LAST_BYTES: Final = 65_536

Say = Callable[[str], None]


class Child:
    """One part of the system, across its restarts; it ends with this process, whatever ends us."""

    def __init__(self, name: str, settings: Settings, *arguments: str) -> None:
        """Prepare the part `name`, which is called by the last of `arguments` in messages."""
        self.name = "-".join([name, *arguments[-1:]])
        self._command = [name, *arguments]
        self.log_file = settings.data_dir / "logs" / f"{self.name}.log"
        self._environment = os.environ | as_environment(settings) | {"PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._log_start = 0
        self._pause_s = _FIRST_PAUSE_S
        self._start_at = 0.0

    def start(self) -> None:
        """Start the process; its output is appended to its log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as output:
            self._process = spawn(
                [sys.executable, "-m", "services", *self._command],
                output,
                environment=self._environment,
                directory=Path(__file__).parents[2],
            )
        self._started_at = time.monotonic()

    def tend(self, say: Say) -> float:
        """Restart the process if it has ended and its pause is over; return the seconds left.

        Raises:
            Misconfigured: the process ended because of something that the user must change.
        """
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self.start()
        elif self._process.poll() is not None:
            code = reap(self._process)
            self._process = None
            if code == MISCONFIGURED:
                raise Misconfigured(f"{self.name}: {self.last_words()}")
            steady = now - self._started_at > _STEADY_AFTER_S
            self._pause_s = _FIRST_PAUSE_S if steady else min(2 * self._pause_s, _MAX_PAUSE_S)
            self._start_at = now + self._pause_s
            reason = f": {self.last_words()}" if code == 1 else ""
            say(
                f"{self.name} ended with {code}{reason}; restart in {self._pause_s:.0f} s, see "
                f"{self.log_file}"
            )
        return max(self._start_at - now, 0.0)

    @property
    def runs(self) -> bool:
        """Return whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Return the exit code of a process that has `ended`."""
        return self._process.poll() if self._process is not None else None

    @property
    def ended(self) -> bool:
        """Return whether the process has ended and `tend` has not noticed yet."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """Return the last line that the process has printed since its last start."""
        with self.log_file.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _LAST_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return lines[-1].removeprefix("avila: ") if lines else ""

    def terminate(self) -> None:
        """Ask the process to end; do not wait for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def reap(self, deadline: float) -> None:
        """Wait for the process until `deadline`, then kill it; it has ended when this returns."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        reap(process)
