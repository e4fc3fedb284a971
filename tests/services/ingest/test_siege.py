"""A service that strangers do all they can to, while its broker is away; it stays as it was."""

import gzip
import io
import random
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import fastavro
import httpx
import msgspec
import psutil
import pytest

from schemas.avro.files import load
from schemas.settings import Settings
from services.ingest.app import FORMATS
from tests.credentials import KEY, bearer
from tests.kafka import read_all
from tests.ports import free_port_base
from tests.services.ingest.conftest import TIMEOUT_S, eventually
from tests.services.ingest.test_faults import (
    OwnBroker,
    events,
    is_ready,
    listens,
    own_broker,
    own_settings,
)
from tests.sinks.processes import environment

__all__ = ["own_broker", "own_settings"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

IDLE = 2_000
AWAY_S = 10.0  # so long is the broker gone
SIEGE_S = 5.0  # so long does each phase last
# What buffers of two thousand connections, and of what waits for the broker, may leave behind.
GROWTH_BYTES = 64 << 20
BOMB = gzip.compress(b"[" + b" " * 9_000_000 + b"]")
PATHS = [path for event_format in FORMATS for path in event_format.paths]
ACCEPTED = {200, 400, 401, 404, 405, 408, 413, 415, 431, 503}


class Siege:
    """The load on a service until `over`; keeps the answers to our own events by verdict."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.over = threading.Event()
        self.answered: defaultdict[str, set[str]] = defaultdict(set)
        self.statuses: set[int] = set()

    def send_events(self) -> None:
        """Whole requests, with an event in ten that cannot be taken."""
        with self._client() as client:
            while not self.over.is_set():
                batch = events(50)
                for event in batch[::10]:
                    event["distinct_id"] = ""
                answer = client.post("/v1/events", json={"events": batch})
                self.statuses.add(answer.status_code)
                for result in answer.json().get("results", []):
                    self.answered[result["result"]].add(result["event_id"])

    def send_bombs(self) -> None:
        """Bodies that would expand a thousand times."""
        with self._client() as client:
            while not self.over.wait(0.05):
                answer = client.post(
                    "/v1/events", content=BOMB, headers={"Content-Encoding": "gzip"}
                )
                assert answer.status_code in {413, 503}

    def send_anything(self) -> None:
        """Random bytes to every event_format."""
        chance = random.Random(1)
        with self._client() as client:
            while not self.over.is_set():
                body = chance.randbytes(chance.randrange(2_000))
                answer = client.post(chance.choice(PATHS), content=body)
                self.statuses.add(answer.status_code)

    def leave(self) -> None:
        """Half a body, and gone."""
        while not self.over.wait(0.01):
            with self._connect() as client:
                client.sendall(
                    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
                    + b"x" * 40_000
                )

    def dawdle(self) -> None:
        """A request that comes byte by byte."""
        with self._connect() as client, suppress(ConnectionError):
            while not self.over.wait(0.1):
                client.sendall(b"G")

    def _client(self) -> httpx.Client:
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=bearer(KEY))

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)


@contextmanager
def service(settings: Settings) -> Iterator[tuple[psutil.Process, int]]:
    """The ingest service in a process of its own, ready, and its port."""
    port = free_port_base()
    settings = msgspec.structs.replace(settings, port_base=port)
    process = psutil.Popen(
        [sys.executable, "-m", "services", "ingest"],
        env=environment(settings),
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port) and is_ready(port))
        yield process, port
    finally:
        process.kill()
        process.wait()


def stored(settings: Settings) -> set[str]:
    """The ids of the events on the inbox."""
    schema = load("event").plain
    found = set()
    for message in read_all(settings.bootstrap, settings.topics.inbox.name):
        event = fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[5:]), schema, None)
        assert isinstance(event, dict)
        found.add(str(event["event_id"]))
    return found


def test_a_service_under_siege_keeps_its_word_and_its_size(
    own_broker: OwnBroker, own_settings: Settings
) -> None:
    with service(own_settings) as (process, port):
        siege = Siege(port)
        honest: list[Callable[[], None]] = [siege.send_events] * 4
        hostile = [siege.send_bombs, siege.send_anything, siege.leave, *[siege.dawdle] * 20]
        with ThreadPoolExecutor(len(honest) + len(hostile)) as pool, ExitStack() as stack:
            stack.callback(siege.over.set)
            actors = [pool.submit(actor) for actor in honest]
            time.sleep(SIEGE_S)
            size = process.memory_info().rss
            for _ in range(IDLE):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            actors += [pool.submit(actor) for actor in hostile]
            time.sleep(SIEGE_S)
            own_broker.running.kill()
            time.sleep(AWAY_S)
            own_broker.restart()
            taken = len(siege.answered["ok"])
            eventually(lambda: len(siege.answered["ok"]) >= taken + 1_000)
            time.sleep(SIEGE_S)
            grown = process.memory_info().rss - size
            siege.over.set()
            for actor in actors:
                actor.result()
        there = stored(own_settings)

    assert siege.answered["ok"] <= there
    assert not siege.answered["drop"] & there
    assert siege.answered["drop"]
    assert siege.statuses <= ACCEPTED
    assert grown < GROWTH_BYTES
