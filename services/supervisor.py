"""The whole system on one machine: starts its processes in order, keeps them up, stops them.

    broker ─▶ topics ─▶ store ─▶ worker, sink, ingest, query

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

from schemas.settings import INGEST_PORT, QUERY_PORT, Settings
from services.topics import ensure_topics
from services.worker import as_environment

_STOP_WITHIN_S: Final = 9.0
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_AFTER_S: Final = 60.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Say = Callable[[str], None]


class Child:
    """One process of the system, whichever incarnation of it."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.log_file = settings.data_dir / "logs" / f"{name}.log"
        self._environment = os.environ | as_environment(settings)
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

    def tend(self, say: Say) -> None:
        """Start it again if it has ended and its pause is over."""
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

    def stop(self, deadline: float) -> None:
        """End it, in order until `deadline`, by force then; it is gone when this returns."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_system(settings: Settings, say: Say) -> None:
    """Run everything until SIGINT or SIGTERM; returns within ten seconds of it.

    Raises:
        Misconfigured: a topic is not as declared.
    """
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    children: list[Child] = []
    try:
        if not settings.kafka_bootstrap:
            children.append(Child("broker", settings))
            children[0].start()
            say(f"broker at {settings.bootstrap}")
        ensure_topics(
            settings.bootstrap,
            settings.topics,
            partitions=settings.partitions,
            replication_factor=settings.replication_factor,
        )
        parts = ["worker", "sink", "ingest", "query"]
        if not settings.clickhouse_dsn:
            parts.insert(0, "store")
        for name in parts:
            if stop.is_set():
                return
            children.append(Child(name, settings))
            children[-1].start()
        say(f"events to http://{settings.host}:{settings.port(INGEST_PORT)}/v1/events")
        say(f"queries to http://{settings.host}:{settings.port(QUERY_PORT)}/api")
        say(f"logs in {settings.data_dir / 'logs'}; stop with Ctrl-C")
        while not stop.wait(0.2):
            for child in children:
                child.tend(say)
    finally:
        deadline = time.monotonic() + _STOP_WITHIN_S
        for child in reversed(children):
            child.stop(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)
