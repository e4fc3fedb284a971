"""The whole system on one machine: starts its processes in order, keeps them up, stops them.

    broker ─▶ topics ─▶ first keys ─▶ store ─▶ worker, sink, ingest, query, registry

A process that ends by itself is started again, after a pause that doubles each time up to half a
minute and is forgotten when it has run for a minute. Stopping goes the other way round, and what
does not end in time is killed.
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
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_AFTER_S: Final = 60.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)

Say = Callable[[str], None]


class Child:
    """One process of the system, whichever incarnation of it."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.log_file = settings.data_dir / "logs" / f"{name}.log"
        self._environment = os.environ | as_environment(settings) | {"PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._start_at = 0.0

    def start(self) -> None:
        """Start it; what it prints goes to its log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "services", self.name],
                env=self._environment,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on, in order
            )
        self._started_at = time.monotonic()

    def tend(self, say: Say) -> float:
        """Start it if it has ended and its pause is over; returns the seconds left of the pause."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self.start()
        elif (code := self._process.poll()) is not None:
            steady = now - self._started_at > _STEADY_AFTER_S
            self._pause_s = _FIRST_PAUSE_S if steady else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._start_at = now + self._pause_s
            self._process = None
            say(f"{self.name} ended with {code}, again in {self._pause_s:.0f} s: {self.log_file}")
        return max(self._start_at - now, 0.0)

    @property
    def ended(self) -> bool:
        """Whether it has come to an end that `tend` has not seen yet."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """The last line it printed."""
        lines = self.log_file.read_text("utf-8", "replace").splitlines()
        return lines[-1].removeprefix("avila: ") if lines else "it left no message"

    def terminate(self) -> None:
        """Ask it to end, and wait for nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def bury(self, deadline: float) -> None:
        """Wait for its end until `deadline`, then force it; it is gone when this returns."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_system(settings: Settings, say: Say) -> None:
    """Run everything until SIGINT or SIGTERM; returns within ten seconds of it.

    Raises:
        Misconfigured: a topic is not as declared.
        Unavailable: the broker did not come up, in which case it says what that said last, or does
            not take the first keys.
    """
    stop, news = threading.Event(), threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            stop.set()
        news.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    ground: list[Child] = []
    parts: list[Child] = []
    try:
        broker = None
        if not settings.kafka_bootstrap:
            install_kafka(say)
            broker = Child("broker", settings)
            broker.start()
            ground.append(broker)
        _await_topics(settings, broker, stop)
        say(f"broker at {settings.bootstrap}")
        _await_first_keys(settings, say, stop)
        if not settings.clickhouse_dsn:
            ground.append(Child("store", settings))
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
            pauses = [child.tend(say) for child in [*ground, *parts]]
            news.wait(min((pause for pause in pauses if pause), default=None))
    finally:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for group in (parts, ground):  # the parts may still have something to write
            for child in group:
                child.terminate()
            for child in group:
                child.bury(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_topics(settings: Settings, broker: Child | None, stop: threading.Event) -> None:
    """Wait until the broker answers and every topic stands as declared, or `stop` is set."""
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
    """Make the first keys: a fresh broker takes its time for its first transaction."""
    deadline = time.monotonic() + _KEYS_TIMEOUT_S
    while not stop.is_set():
        try:
            ensure_first_keys(settings, say)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        else:
            return
