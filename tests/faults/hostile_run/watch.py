"""What is watched beside the attack: another project's own figures and times, and memory."""

import contextlib
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Final

import httpx
import psutil

from tests.credentials import bearer
from tests.faults.hostile_run.system import TIMEOUT_S, System

_EVERY_S: Final = 0.05


class Quiet(threading.Thread):
    """Another project: sends an event every now and then, and reads its funnel."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._funnel = f"{system.api}/quiet/funnels"
        self.over = threading.Event()
        self.persons = 0
        # When each was measured, and how long it took (s).
        self.sent: list[tuple[float, float]] = []
        self.read: list[tuple[float, float]] = []
        self.fresh: list[tuple[float, float]] = []
        self.error: BaseException | None = None

    def define(self) -> None:
        body = {"id": "quiet", "steps": [{"event": "in"}, {"event": "buy"}]}
        answer = httpx.post(self._funnel, json=body, headers=bearer(self._system.token))
        assert answer.status_code == 201, answer.text

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
            raise

    def _run(self) -> None:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            waiting: tuple[int, float] | None = None
            while not self.over.wait(_EVERY_S):
                person = self.persons
                self._send(client, person)
                if waiting is None:
                    waiting = person + 1, time.monotonic()
                reached = self._reached(client)[0]
                if reached >= waiting[0]:
                    now = time.monotonic()
                    self.fresh.append((now, now - waiting[1]))
                    waiting = None

    def _send(self, client: httpx.Client, person: int) -> None:
        """Let one more person come in; every second one buys."""
        for name in ["in"] + ["buy"] * (person % 2):
            event = {"event": name, "distinct_id": f"q{person}", "event_id": str(uuid.uuid4())}
            begin = time.monotonic()
            answer = client.post(
                f"{self._system.ingest}/v1/events",
                json=event,
                headers=bearer(self._system.quiet_key),
            )
            assert answer.status_code == 200, answer.text
            self.sent.append((begin, time.monotonic() - begin))
        self.persons = person + 1

    def _reached(self, client: httpx.Client) -> list[int]:
        begin = time.monotonic()
        answer = client.get(f"{self._funnel}/quiet/results", headers=bearer(self._system.token))
        assert answer.status_code == 200, answer.text
        self.read.append((begin, time.monotonic() - begin))
        return [step["reached"] for step in answer.json()["totals"]["steps"]]

    def reached(self) -> list[int]:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            return self._reached(client)


def p99(measured: list[tuple[float, float]], begin: float, end: float) -> float:
    """The 99th percentile (ms) of what was measured between two times."""
    own = sorted(took for at, took in measured if begin <= at < end)
    return 1_000 * own[max(0, -(-99 * len(own) // 100) - 1)] if own else float("nan")


class Memory(threading.Thread):
    """Watches the memory that processes have to themselves (PSS)."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self.over = threading.Event()
        self.sizes: dict[str, list[tuple[float, int]]] = {name: [] for name in processes}

    def run(self) -> None:
        while not self.over.wait(0.5):
            for name, process in self._processes.items():
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # it ended
                    size = process.memory_full_info().pss
                    self.sizes[name].append((time.monotonic(), size))

    def of_third(self, name: str, number: int, begin: float, end: float) -> float:
        """The median in one third of a span."""
        third = (end - begin) / 3
        first = begin + number * third
        own = [size for at, size in self.sizes[name] if first <= at <= first + third]
        return statistics.median(own)


@contextlib.contextmanager
def watching(one: Quiet | Memory) -> Iterator[None]:
    """Run a thread within the block."""
    one.start()
    try:
        yield
    finally:
        one.over.set()
        one.join()
