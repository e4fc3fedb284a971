"""The whole system on one machine: starts its processes in order, keeps them up, stops them.

    broker ─▶ topics ─▶ first keys ─▶ store ─▶ worker, sink, ingest, query, registry

A process that ends by itself is restarted after a pause. The pause doubles with each restart, up to
half a minute, and starts again from half a second once the process has run for a minute. At the end
the processes are stopped in reverse order, and killed if they do not stop in time.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from schemas.errors import Unavailable
from schemas.settings import GRPC_PORT, INGEST_PORT, QUERY_PORT, REGISTRY_PORT, Settings
from services.broker import install_kafka
from services.keys.first import ensure_first_keys
from services.topics import ensure_topics
from services.worker import as_environment

_STOP_TIMEOUT_S: Final = 9.0
_BROKER_TIMEOUT_S: Final = 240.0
_KEYS_TIMEOUT_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
_STEADY_AFTER_S: Final = 60.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)

Say = Callable[[str], None]


class Child:
    """One part of the system as a process, across its restarts."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.log_file = settings.data_dir / "logs" / f"{name}.log"
        self._environment = os.environ | as_environment(settings) | {"PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._start_at = 0.0

    def start(self) -> None:
        """Start the process; its output is appended to its log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "services", self.name],
                env=self._environment,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # we pass a Ctrl-C of the terminal on, in order
            )
        self._started_at = time.monotonic()

    def tend(self, say: Say) -> float:
        """Restart the process if it has ended and its pause is over; return the seconds left."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self.start()
        elif (code := self._process.poll()) is not None:
            steady = now - self._started_at > _STEADY_AFTER_S
            self._pause_s = _FIRST_PAUSE_S if steady else min(2 * self._pause_s, _MAX_PAUSE_S)
            self._start_at = now + self._pause_s
            self._process = None
            say(f"{self.name} ended with {code}, restart in {self._pause_s:.0f} s: {self.log_file}")
        return max(self._start_at - now, 0.0)

    @property
    def ended(self) -> bool:
        """Return whether the process has ended and `tend` has not noticed yet."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """Return the last line that the process printed."""
        lines = self.log_file.read_text("utf-8", "replace").splitlines()
        return lines[-1].removeprefix("avila: ") if lines else "it left no message"

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
            process.wait()


def run_system(settings: Settings, say: Say) -> None:
    """Run everything until SIGINT or SIGTERM; return within ten seconds of the signal.

    Raises:
        Misconfigured: a topic differs from its declaration.
        Unavailable: the broker did not start (the text is what it said last), or does not accept
            the first keys.
    """
    stop, news = threading.Event(), threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            stop.set()
        news.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    backends: list[Child] = []  # what the other parts need: broker and store
    parts: list[Child] = []
    try:
        broker = None
        if not settings.kafka_bootstrap:
            install_kafka(say)
            broker = Child("broker", settings)
            broker.start()
            backends.append(broker)
        _await_topics(settings, broker, stop)
        say(f"broker at {settings.bootstrap}")
        _await_first_keys(settings, say, stop)
        if not settings.clickhouse_dsn:
            backends.append(Child("store", settings))
        names = ["worker", "sink", "ingest", "query"]
        if not settings.schema_registry_url:
            names.append("registry")
        parts = [Child(name, settings) for name in names]
        say(f"events to http://{settings.host}:{settings.port(INGEST_PORT)}/v1/events")
        say(f"  or by gRPC to {settings.host}:{settings.port(GRPC_PORT)}")
        say(f"queries to http://{settings.host}:{settings.port(QUERY_PORT)}/api")
        if "registry" in names:
            say(f"schemas at http://{settings.host}:{settings.port(REGISTRY_PORT)}/subjects")
        say(f"logs in {settings.data_dir / 'logs'}; stop with Ctrl-C")
        while not stop.is_set():
            news.clear()
            pauses = [child.tend(say) for child in [*backends, *parts]]
            news.wait(min((pause for pause in pauses if pause), default=None))
    finally:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for group in (parts, backends):  # the parts may still have records and rows to write
            for child in group:
                child.terminate()
            for child in group:
                child.reap(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_topics(settings: Settings, broker: Child | None, stop: threading.Event) -> None:
    """Wait until the broker answers and every topic exists as declared, or `stop` is set."""
    deadline = time.monotonic() + _BROKER_TIMEOUT_S
    while not stop.is_set():
        try:
            ensure_topics(
                settings.bootstrap,
                settings.topics,
                partitions=settings.partitions,
                replication_factor=settings.replication_factor,
                timeout_s=1,
            )
        except Unavailable:
            if broker is not None and broker.ended:
                raise Unavailable(broker.last_words()) from None
            if time.monotonic() > deadline:
                raise
        else:
            return


def _await_first_keys(settings: Settings, say: Say, stop: threading.Event) -> None:
    """Create the first keys; retry, since a new broker is slow to start its first transaction."""
    deadline = time.monotonic() + _KEYS_TIMEOUT_S
    while not stop.is_set():
        try:
            ensure_first_keys(settings, say)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        else:
            return
