"""200 viewers of one project, 20 of whom read nothing: `python -m benchmarks.viewers`.

The whole system runs with 8 funnels and 2,000 events/s. Every viewer has a WebSocket of its own, on
which it follows the funnels and the events. Probes are sent through the ingest service, each the
first step of a new person; their delay is the time from the acknowledgement to the message of each
viewer that counts them. It is measured for one viewer alone, and then for all who read. Slow
viewers must be ended with the reason, and the memory of the query process is measured meanwhile.
"""

import argparse
import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.bench import (
    PROJECT,
    answers,
    console,
    define_funnels,
    environment_of,
    process,
    system,
    until,
)
from benchmarks.freshness import load
from schemas.settings import INGEST_PORT, QUERY_PORT, Settings
from services.keys.admin import run_with_key_admin
from services.keys.first import read_token
from services.worker import partitions_held

RATE: Final = 2_000
FUNNEL: Final = "probe"
_PROBE_EVERY_S: Final = 0.25
_BUFFER_BYTES: Final = 16_384
_CONNECT_TIMEOUT_S: Final = 120.0
# Of a probe that a viewer has not been shown when the run ends.
MISSED_S: Final = float("inf")


class Viewers:
    """Viewers of the live results of one funnel, on a thread; `slow` of them read nothing.

    Attributes:
        ended: the close codes and reasons of the slow ones, once the block is left.
        lost: why viewers who read lost their connection.
    """

    def __init__(
        self, address: str, token: str, project: str, funnel: str, *, quick: int, slow: int
    ) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._url = f"ws://{parts.netloc}/api/projects/{project}/live"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._funnel = funnel
        self._counts = quick, slow
        # By viewer, the times at which larger figures came, in order.
        self._seen: list[list[tuple[int, float]]] = [[] for _ in range(quick)]
        self._ready = threading.Semaphore(0)
        self._over = threading.Event()
        self.ended: list[tuple[int, str]] = []
        self.lost: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the viewers within the block, which begins when all have subscribed."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            for _ in range(sum(self._counts)):
                assert self._ready.acquire(timeout=_CONNECT_TIMEOUT_S), "a viewer cannot connect"
            yield
        finally:
            self._over.set()
            thread.join()

    def delays(self, figure: int, since: float) -> list[float]:
        """Return how long after `since` (s, monotonic) each viewer had the figure, or more."""
        return [
            next((at - since for found, at in tuple(seen) if found >= figure), MISSED_S)
            for seen in self._seen
        ]

    async def _run(self) -> None:
        quick, slow = self._counts
        over = asyncio.Event()
        tasks = [asyncio.create_task(self._view(number)) for number in range(quick)]
        tasks += [asyncio.create_task(self._view_slowly(over)) for _ in range(slow)]
        await asyncio.to_thread(self._over.wait)
        over.set()
        await asyncio.gather(*tasks)

    async def _view(self, number: int) -> None:
        try:
            async with self._connected() as live:
                await self._subscribe(live)
                while not self._over.is_set():
                    try:
                        async with asyncio.timeout(0.5):
                            message = await live.recv(decode=False)
                    except TimeoutError:
                        continue
                    self._take(number, message)
        except (ConnectionClosed, OSError) as error:
            self.lost.append(str(error))

    async def _view_slowly(self, over: asyncio.Event) -> None:
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        line.connect((self._host, self._port))
        async with self._connected(sock=line, max_queue=1, close_timeout=1) as live:
            await self._subscribe(live)
            await over.wait()
            try:
                async with asyncio.timeout(20):
                    while True:
                        await live.recv(decode=False)
            except ConnectionClosed as closed:
                end = closed.rcvd
                self.ended.append((end.code, end.reason) if end else (1006, ""))
            except TimeoutError:
                self.ended.append((0, "was not ended"))

    def _connected(self, **options: Any) -> connect:
        # Neither the size of a message nor a late pong is to end a connection here.
        common = {"proxy": None, "max_size": None, "ping_interval": None}
        return connect(self._url, additional_headers=self._headers, **common | options)

    async def _subscribe(self, live: ClientConnection) -> None:
        """Subscribe to both topics, again for as long as the broker is too slow for it."""
        await live.recv()
        for topic in ("funnels", "events"):
            confirmed = False
            await live.send(json.dumps({"subscribe": topic}))
            while not confirmed:
                message = json.loads(await live.recv())
                confirmed = message.get("subscribed") == topic
                if "error" in message:
                    await live.send(json.dumps({"subscribe": topic}))
        self._ready.release()

    def _take(self, number: int, message: bytes) -> None:
        now = time.monotonic()
        for one in _message.decode(message).funnels:
            if one.id == self._funnel:
                self._seen[number].append((one.totals.steps[0].reached, now))


class _Step(msgspec.Struct):
    reached: int


class _Totals(msgspec.Struct):
    steps: list[_Step]


class _Funnel(msgspec.Struct):
    id: str
    totals: _Totals


class _Message(msgspec.Struct):
    funnels: list[_Funnel] = []


_message = msgspec.json.Decoder(_Message)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--slow", type=int, default=20)
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with system() as settings:
        define_funnels(settings, 8)
        environment = environment_of(settings, AVILA_KAFKA_BOOTSTRAP=settings.bootstrap)
        with process([sys.executable, "-m", "services", "up"], environment) as running:
            probes = _Probes(settings)
            query = _query_process(running)
            quick = given.viewers - given.slow
            with load(settings, RATE):
                for name, counts in (("alone", (1, 0)), ("all", (quick, given.slow))):
                    before = query.memory_info().rss
                    viewers = Viewers(
                        probes.api,
                        probes.token,
                        PROJECT,
                        FUNNEL,
                        quick=counts[0],
                        slow=counts[1],
                    )
                    with viewers.watching():
                        delays, rss = probes.run(viewers, given.seconds, query)
                    figures[name] = _figures(delays) | {
                        "memory_mb": round(rss / 1e6),
                        "memory_added_mb": round((rss - before) / 1e6),
                        "ended": len([one for one in viewers.ended if one[0]]),
                        "lost": len(viewers.lost),
                    }
                    console.print(name, figures[name])
    print(json.dumps(figures))


class _Probes:
    """Sends one person at a time into a funnel of the project that is viewed."""

    def __init__(self, settings: Settings) -> None:
        host = settings.local_host
        self.api = f"http://{host}:{settings.port(QUERY_PORT)}"
        self._ingest = f"http://{host}:{settings.port(INGEST_PORT)}/v1/events"
        until(lambda: partitions_held(settings) == settings.partitions, 300)
        until(lambda: answers(f"{self.api}/readyz"), 300)
        self._key = run_with_key_admin(settings, lambda admin: admin.create_write_key(PROJECT)).id
        self.token = read_token(settings)
        steps = [{"event": "probe"}, {"event": "probed"}]
        self._post(
            f"{self.api}/api/projects/{PROJECT}/funnels",
            {"id": FUNNEL, "steps": steps, "window_s": 60},
            self.token,
        )
        time.sleep(2)  # until the worker runs the funnel
        self._sent = 0

    def run(self, viewers: Viewers, seconds: int, query: psutil.Process) -> tuple[list[float], int]:
        """Probe for `seconds`; return the delays of all viewers, and the most memory (bytes)."""
        sent, rss = [], 0
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self._sent += 1
            event = {"event": "probe", "distinct_id": f"probe {self._sent}"}
            self._post(self._ingest, {"events": [event]}, self._key)
            sent.append((self._sent, time.monotonic()))
            rss = max(rss, query.memory_info().rss)
            time.sleep(_PROBE_EVERY_S)
        time.sleep(5)  # for the last of them
        return [one for figure, since in sent for one in viewers.delays(figure, since)], rss

    def _post(self, url: str, body: Any, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        httpx.post(url, json=body, headers=headers, timeout=30).raise_for_status()


def _figures(delays: Sequence[float]) -> dict[str, float]:
    found = [one for one in delays if one != MISSED_S]
    p50, p99 = np.percentile(found, [50, 99])
    return {
        "p50_ms": round(1_000 * p50),
        "p99_ms": round(1_000 * p99),
        "max_ms": round(1_000 * max(found)),
        "missed": len(delays) - len(found),
    }


def _query_process(whole: psutil.Process) -> psutil.Process:
    return next(one for one in whole.children(recursive=True) if one.cmdline()[-1:] == ["query"])


if __name__ == "__main__":
    main()
