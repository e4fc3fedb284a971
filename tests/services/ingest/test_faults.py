"""Events that are answered `ok` are on the broker, despite any fault."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import Misconfigured
from schemas.settings import Settings, read_settings
from services.broker import Broker
from services.ingest.server import run_ingest
from services.topics import ensure_topics
from tests.conftest import free_ports
from tests.credentials import KEY, put_keys
from tests.ports import free_port_base
from tests.services.ingest.conftest import TIMEOUT_S, Ingest, eventually, serving

GONE = 'avila_ingest_clients_gone_total{format="native"}'


def events(count: int) -> list[dict[str, Any]]:
    return [
        {"event_id": str(uuid.uuid4()), "event": "view", "distinct_id": f"u{n}"}
        for n in range(count)
    ]


class OwnBroker:
    """A broker that a test may kill and start again on the same address and data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = free_ports(2)
        self.running = self._start()

    def _start(self) -> Broker:
        return Broker.start(
            self._directory / "data",
            "127.0.0.1",
            *self._ports,
            log_file=self._directory / "kafka.log",
        )

    def restart(self) -> None:
        self.running = self._start()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    broker = OwnBroker(tmp_path)
    yield broker
    broker.running.stop()


@pytest.fixture
def own_settings(own_broker: OwnBroker, tmp_path: Path) -> Settings:
    settings = read_settings(
        {}, kafka_bootstrap=own_broker.running.bootstrap, partitions=2, data_dir=tmp_path
    )
    ensure_topics(settings.bootstrap, settings.topics, partitions=2, replication_factor=1)
    put_keys(settings)
    return settings


@pytest.mark.faults
def test_nothing_answered_ok_is_lost_when_the_broker_dies_under_load(
    own_broker: OwnBroker, own_settings: Settings
) -> None:
    answered: list[dict[str, Any]] = []
    over = threading.Event()

    def send_on(ingest: Ingest) -> None:
        while not over.is_set():
            answer = ingest.post(events(50))
            assert answer.status_code in {200, 503}, answer.text
            results = answer.json().get("results", [])
            assert all(result["result"] in {"ok", "retry"} for result in results)
            if any(result["result"] == "retry" for result in results):
                assert answer.headers["Retry-After"] == "1"
            answered.extend(results)

    def count(result: str) -> int:
        return sum(one["result"] == result for one in answered.copy())

    with serving(own_settings, delivery_timeout_ms=2_000) as ingest, ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(send_on, ingest) for _ in range(4)]
        try:
            eventually(lambda: count("ok") >= 1_000)
            own_broker.running.kill()
            eventually(lambda: count("retry") >= 200)
            assert ingest.http.get("/readyz").status_code == 503
            own_broker.restart()
            before = count("ok")
            eventually(lambda: count("ok") >= before + 1_000)
        finally:
            over.set()
        for client in clients:
            client.result()
        assert ingest.metric("avila_ingest_unacknowledged_events") == 0
        stored = {event["event_id"] for event in ingest.inbox()}

    acknowledged = {result["event_id"] for result in answered if result["result"] == "ok"}
    assert acknowledged <= stored


def test_what_the_producers_queue_has_no_room_for_is_answered_retry(
    serve: Callable[..., Ingest],
) -> None:
    ingest = serve(max_unacknowledged_events=5)  # and a queue of twice as many

    answer = ingest.post(events(30))

    results = [result["result"] for result in answer.json()["results"]]
    assert (answer.status_code, answer.headers["Retry-After"]) == (200, "1")
    assert results == ["ok"] * 10 + ["retry"] * 20
    assert len(ingest.inbox()) == 10
    assert ingest.metric("avila_ingest_unacknowledged_events") == 0


@pytest.mark.faults
def test_requests_are_told_to_come_back_while_too_many_events_wait(
    own_broker: OwnBroker, own_settings: Settings
) -> None:
    limits = {"max_unacknowledged_events": 10, "delivery_timeout_ms": 3_000}
    with serving(own_settings, **limits) as ingest, ThreadPoolExecutor(1) as pool:
        ingest.results(events(1))
        own_broker.running.kill()
        waiting = pool.submit(ingest.post, events(10))
        eventually(lambda: ingest.metric("avila_ingest_unacknowledged_events") == 10)

        answer = ingest.post(events(1))

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "10 events (max_unacknowledged_events)" in answer.json()["error"]["message"]
        given_up = waiting.result()
        assert (given_up.status_code, given_up.headers["Retry-After"]) == (503, "1")
        assert {result["result"] for result in given_up.json()["results"]} == {"retry"}


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind(
    ingest: Ingest,
) -> None:
    with socket.create_connection(("127.0.0.1", ingest.port)) as client:
        client.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        client.sendall(json.dumps(events(20)).encode())
        eventually(lambda: ingest.metric("avila_ingest_held_bytes") > 0)

    eventually(lambda: ingest.metric(GONE) == 1)
    assert ingest.metric("avila_ingest_held_bytes") == 0
    assert not ingest.inbox()


def test_a_terminated_service_answers_what_is_in_flight_and_ends_well(settings: Settings) -> None:
    base = free_port_base()
    environment = {key: text for key, text in os.environ.items() if not key.startswith("AVILA_")}
    environment |= {
        "AVILA_KAFKA_BOOTSTRAP": settings.bootstrap,
        "AVILA_TOPIC_PREFIX": settings.topic_prefix,
        "AVILA_PARTITIONS": str(settings.partitions),
        "AVILA_PORT_BASE": str(base),
    }
    program = (
        "from schemas.settings import read_settings;"
        "from services.ingest.server import run_ingest;"
        "run_ingest(read_settings())"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        eventually(lambda: listens(base) and is_ready(base))
        body = json.dumps(events(3)).encode()
        with socket.create_connection(("127.0.0.1", base), TIMEOUT_S) as client:
            head = (
                "POST /v1/events HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            client.sendall(head.encode() + body[:10])
            eventually(lambda: held_bytes(base) > 0)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: not listens(base))
            client.sendall(body[10:])
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b'"result":"ok"') == 3
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = read_settings(
            {},
            kafka_bootstrap=settings.bootstrap,
            topic_prefix=settings.topic_prefix,
            partitions=settings.partitions,
            port_base=port,
        )

        with pytest.raises(Misconfigured, match=f"127.0.0.1:{port}"):
            run_ingest(taken)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    return True


def is_ready(port: int) -> bool:
    return get(port, "/readyz").startswith("HTTP/1.1 200 ")


def get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65_536), b"")).decode()


def held_bytes(port: int) -> float:
    text = get(port, "/metrics")
    return float(text.partition("\navila_ingest_held_bytes ")[2].partition("\n")[0])
