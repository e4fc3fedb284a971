"""Stream workers as processes of their own, to be killed, stopped and continued."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from schemas.cluster import client_config
from schemas.settings import Settings
from services.worker import MEMORY
from tests.sinks.processes import environment

ROOT = Path(__file__).parents[1]
# A first start on a slow machine compiles every kernel for minutes.
_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 180.0


class WorkerProcess:
    """`faust -A pipelines.app worker`; inside a `with` block it runs, after it, it does not."""

    def __init__(
        self,
        settings: Settings,
        name: str = "one",
        app: str = "pipelines.app",
        **environment: str,
    ) -> None:
        self.settings = replace(settings, worker_id=name)
        self.log_file = settings.data_dir / f"worker-{name}.log"
        self._environment = environment
        self._app = app
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
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
        """What it and its predecessors of the same name have said."""
        return self.log_file.read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait for nothing."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*faust(self._app), "worker", "-l", "info", "--without-web"],
                env=MEMORY
                | environment(self.settings)
                | {"PYTHONUNBUFFERED": "1"}
                | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def kill(self) -> None:
        """SIGKILL, if it was ever started; it is gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and does not know it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_TIMEOUT_S)

    def await_partitions(self, count: int) -> None:
        """Wait until this worker holds this number of partitions: see `HELD_PARTITIONS`."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        admin = AdminClient(client_config(self.settings.cluster, {"log_level": 0}))
        while self._held(admin) != count:
            assert self.process.poll() is None, f"the worker ended:\n{self.output}"
            assert time.monotonic() < deadline, f"not {count} partitions in time:\n{self.output}"
            time.sleep(0.2)

    def _held(self, admin: AdminClient) -> int:
        try:
            (answer,) = admin.describe_consumer_groups([self.settings.app_id]).values()
            members = answer.result(timeout=10).members
        except (KafkaException, TimeoutError):
            return -1
        own = [member for member in members if member.client_id == self.settings.worker_name]
        return sum(len(member.assignment.topic_partitions) for member in own)


def faust(app: str = "pipelines.app") -> list[str]:
    """The command line of plain Faust on our app."""
    return [sys.executable, "-m", "faust", "-A", app]
