"""Each limit of a request is answered with its status, its name and its value; nothing is taken."""

import asyncio
import contextlib
import gzip
import json
import secrets
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import zstandard

from tests.services.ingest.conftest import TIMEOUT_S, Ingest

Serve = Callable[..., Ingest]

GZIP = {"Content-Encoding": "gzip"}
DEFLATE = {"Content-Encoding": "deflate"}
ZSTD = {"Content-Encoding": "zstd"}
EVENT = {"event": "view", "distinct_id": "u1"}


def unsized_zstd(body: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(body) + stream.flush()


def assert_refused(answer: httpx.Response, limit: str, value: int) -> None:
    assert answer.status_code == 413, answer.text
    assert answer.json()["error"]["code"] == "too_large"
    assert f"{value} ({limit})" in answer.json()["error"]["message"]


def test_a_body_is_refused_by_what_it_announces(serve: Serve) -> None:
    ingest = serve(max_body_bytes=1_000)

    assert_refused(ingest.post(content=b" " * 1_001), "max_body_bytes", 1_000)


def test_a_body_that_announces_nothing_is_refused_where_the_limit_is(serve: Serve) -> None:
    ingest = serve(max_body_bytes=1_000)

    answer = ingest.post(content=iter([b" " * 500] * 3))

    assert_refused(answer, "max_body_bytes", 1_000)


def test_a_compressed_body_has_a_limit_of_its_own(serve: Serve) -> None:
    ingest = serve(max_compressed_bytes=10)

    answer = ingest.post(content=gzip.compress(b"{}"), headers=GZIP)

    assert_refused(answer, "max_compressed_bytes", 10)


@pytest.mark.parametrize(
    ("compress", "headers"),
    [
        (gzip.compress, GZIP),
        (zlib.compress, DEFLATE),
        (zstandard.compress, ZSTD),
        (unsized_zstd, ZSTD),
    ],
    ids=["gzip", "deflate", "zstd", "zstd of unknown size"],
)
def test_a_bomb_is_not_unpacked(
    shared: Ingest, compress: Callable[[bytes], bytes], headers: dict[str, str]
) -> None:
    bomb = compress(b"[" + b" " * 9_000_000 + b"]")
    large = compress(b"[" + b'"%08d",' * 1_000_000 % tuple(range(1_000_000)) + b"0]")

    assert_refused(shared.post(content=bomb, headers=headers), "max_compression_ratio", 250)
    assert_refused(shared.post(content=large, headers=headers), "max_body_bytes", 10 << 20)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", GZIP),
        (b"", ZSTD),
        (b"plain", GZIP),
        (b"plain", DEFLATE),
        (zlib.compress(b'{"events":[]}')[:-1], DEFLATE),
        (b"plain", ZSTD),
        (gzip.compress(b'{"events":[]}', mtime=0)[:-1], GZIP),
        (gzip.compress(b'{"events":[]}', mtime=0) + b"more", GZIP),
        (zstandard.compress(b'{"events":[]}')[:-1], ZSTD),
        (unsized_zstd(b'{"events":[]}')[:-1], ZSTD),
        (zstandard.compress(b'{"events":[]}') + b"more", ZSTD),
    ],
)
def test_a_body_that_is_not_whole_or_not_compressed_is_refused(
    shared: Ingest, body: bytes, headers: dict[str, str]
) -> None:
    answer = shared.post(content=body, headers=headers)

    assert answer.status_code == 400, answer.text
    assert headers["Content-Encoding"] in answer.json()["error"]["message"]


def test_an_encoding_that_is_not_understood_is_refused(shared: Ingest) -> None:
    answer = shared.post(content=b"{}", headers={"Content-Encoding": "lzma"})

    assert (answer.status_code, answer.json()["error"]["field"]) == (415, "Content-Encoding")


def test_too_many_events_in_one_request_are_refused_together(serve: Serve) -> None:
    ingest = serve(max_events=3)

    assert_refused(ingest.post([EVENT] * 4), "max_events", 3)
    assert [result["result"] for result in ingest.results([EVENT] * 3)] == ["ok"] * 3


def test_too_large_an_event_is_dropped_and_its_neighbours_are_taken(serve: Serve) -> None:
    ingest = serve(max_event_bytes=2_000)

    results = ingest.results([EVENT, EVENT | {"properties": {"a": "x" * 2_000}}, EVENT])

    assert [result["result"] for result in results] == ["ok", "drop", "ok"]
    assert "2000 (max_event_bytes)" in results[1]["details"]
    assert len(ingest.inbox()) == 2


def test_an_event_as_large_as_the_limit_reaches_the_broker(ingest: Ingest) -> None:
    properties: dict[str, Any] = {"a": "x" * (262_144 - 200)}

    assert ingest.results(EVENT | {"properties": properties})[0]["result"] == "ok"
    assert json.loads(ingest.inbox()[0]["properties"]) == properties


def test_what_the_broker_does_not_take_is_dropped_with_the_reason(serve: Serve) -> None:
    # The broker's own limit is four megabytes of what compression leaves.
    ingest = serve(max_event_bytes=6_000_000, max_compressed_bytes=8_000_000)

    results = ingest.results([EVENT, EVENT | {"properties": {"a": secrets.token_hex(2_500_000)}}])

    assert [result["result"] for result in results] == ["ok", "drop"]
    assert "size" in results[1]["details"]
    assert len(ingest.inbox()) == 1


def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    ingest = serve(read_timeout_s=0.2)

    async def send_half() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        try:
            return await asyncio.wait_for(reader.read(), TIMEOUT_S)
        finally:
            writer.close()
            await writer.wait_closed()

    answer = asyncio.run(send_half())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"read_timeout_s" in answer


@pytest.mark.parametrize(
    "begun", [b"", b"POST /v1/ev", b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\n"]
)
def test_a_head_that_does_not_come_is_not_waited_for(serve: Serve, begun: bytes) -> None:
    ingest = serve(read_timeout_s=0.2, keep_alive_s=1)

    with socket.create_connection(("127.0.0.1", ingest.port), TIMEOUT_S) as client:
        client.sendall(begun)
        answers = b"".join(iter(lambda: client.recv(65_536), b""))

    assert answers.count(b"HTTP/1.1 200 ") == begun.count(b"GET")


@pytest.mark.parametrize("piece", [b"a: b\r\n", b"a"], ids=["many headers", "a long one"])
def test_a_head_that_has_no_end_is_refused_where_the_limit_is(serve: Serve, piece: bytes) -> None:
    ingest = serve(max_head_bytes=100_000)

    with socket.create_connection(("127.0.0.1", ingest.port), TIMEOUT_S) as client:
        client.sendall(b"POST /v1/events HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):  # what we sent last may not have been read
            for _ in range(1_000):
                client.sendall(piece * (1_000 // len(piece)))
        answer = client.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"the limit is 100000 bytes (max_head_bytes)" in answer


def test_a_connection_is_kept_for_many_requests_with_large_bodies(serve: Serve) -> None:
    ingest = serve(max_head_bytes=2_000, read_timeout_s=1)

    until = time.monotonic() + 1.2  # longer than one head may take
    while time.monotonic() < until:
        assert ingest.results([EVENT | {"properties": {"a": "x" * 5_000}}] * 100)


def begin_what_is_refused_by_its_head(client: socket.socket, length: int) -> None:
    """Send the head of a request that is refused, and none of its body."""
    head = f"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    client.sendall(head.encode())
    assert client.recv(65_536).startswith(b"HTTP/1.1 405 ")


def dribble(client: socket.socket, size: int) -> None:
    for _ in range(size):
        client.sendall(b"x")
        time.sleep(0.1)


def test_the_rest_of_a_refused_body_is_not_waited_for(serve: Serve) -> None:
    ingest = serve(read_timeout_s=1)

    with socket.create_connection(("127.0.0.1", ingest.port), TIMEOUT_S) as client:
        begin_what_is_refused_by_its_head(client, 10_000)
        with pytest.raises(ConnectionError):
            dribble(client, 100)


def test_a_connection_is_used_again_after_the_rest_of_a_refused_body(serve: Serve) -> None:
    ingest = serve(max_head_bytes=2_000, read_timeout_s=1)

    with socket.create_connection(("127.0.0.1", ingest.port), TIMEOUT_S) as client:
        begin_what_is_refused_by_its_head(client, 10_000)
        client.sendall(b"x" * 10_000 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_requests_beyond_the_memory_there_is_are_told_to_come_back(serve: Serve) -> None:
    ingest = serve(max_held_bytes=1_100_000)

    answer = ingest.post(content=b" " * 1_200_000)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"]["code"] == "back_off"
    assert ingest.metric("avila_ingest_held_bytes") == 0
    assert ingest.results(EVENT)[0]["result"] == "ok"
