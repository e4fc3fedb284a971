"""One request: resolved once, sent to the address that was checked, bounded in time and size."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from services.webhooks import post as module
from services.webhooks import resolve
from services.webhooks.addresses import read_networks
from services.webhooks.post import post
from tests.services.webhooks.receiver import receiving

LOCAL = read_networks("127.0.0.0/8")


async def test_a_name_is_resolved_once_and_the_connection_is_made_to_that_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def rebinding(host: Any, port: Any, **_more: Any) -> Any:
        """Answer with a public address once, and with another one after that."""
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = f"http://hooks.shop.example:{receiver.port}/hook"
        answer = await post(url, b"{}", {"x-own": "1"}, LOCAL)
        assert answer.ok
        (got,) = receiver.received
    assert asked == ["hooks.shop.example"]
    assert got.headers["host"] == f"hooks.shop.example:{receiver.port}"


async def test_one_private_address_of_a_name_is_enough_to_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mixed(_host: Any, port: Any, **_more: Any) -> Any:
        found = ("93.184.216.34", "169.254.169.254")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    answer = await post("http://hooks.shop.example/", b"{}", {}, LOCAL)
    assert (answer.status, answer.ok) == (0, False)
    assert "169.254.169.254, which is not public" in answer.reason


async def test_a_name_server_that_does_not_answer_delays_no_other_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, asked = threading.Event(), []

    def look_up(host: Any, port: Any, **_more: Any) -> Any:
        asked.append(host)
        if host == "silent.example":
            answers.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(resolve, "_TIMEOUT_S", 1.0)
    async with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        silent = f"http://silent.example:{receiver.port}/hook"
        waiting = [asyncio.create_task(post(silent, b"{}", {}, LOCAL)) for _ in range(200)]
        await asyncio.sleep(0)
        well = f"http://hooks.shop.example:{receiver.port}/hook"
        assert (await post(well, b"{}", {}, LOCAL)).ok
        left = await asyncio.gather(*waiting)
        assert {one.reason for one in left} == {"silent.example cannot be resolved within 1 s"}
        assert sorted(asked) == ["hooks.shop.example", "silent.example"]
        answers.set()


async def test_a_name_in_another_script_is_resolved_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def look_up(host: Any, port: Any, **_more: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        # Decoded and encoded again by the older rules, it would be `strasse.example`.
        url = f"http://xn--strae-oqa.example:{receiver.port}/hook"
        assert (await post(url, b"{}", {}, LOCAL)).ok
    assert asked == ["xn--strae-oqa.example"]


async def test_a_receiver_that_never_answers_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    async with receiving() as receiver:
        receiver.pause_s = 2.0
        answer = await post(receiver.url, b"{}", {}, LOCAL)
    assert (answer.status, answer.reason) == (0, "no answer within 0 s")


async def test_a_receiver_that_sends_without_end_is_cut_off() -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 no\r\ncontent-type: text/plain\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await post(f"http://127.0.0.1:{port}/", b"{}", {}, LOCAL)
        assert (answer.status, len(answer.reason)) == (500, 201)


@pytest.mark.parametrize("answered", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 99999 no\r\n\r\n"])
async def test_what_is_no_answer_is_a_failure_and_no_defect(answered: bytes) -> None:
    async def odd(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answered)
        writer.close()

    async with await asyncio.start_server(odd, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await post(f"http://127.0.0.1:{port}/", b"{}", {}, LOCAL)
    assert (answer.status, answer.ok) == (0, False)
    assert answer.reason


@pytest.mark.parametrize(
    ("asked", "pause_s"),
    [
        ("30", 30),
        ("999999999999", 3_600),
        ("-5", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0),
        ("1 Jan 2026 1:1:1 +99999999999999", 0),
        ("soon", 0),
    ],
)
async def test_a_pause_of_any_text_is_an_hour_at_most_and_no_defect(
    asked: str, pause_s: int
) -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        head = f"HTTP/1.1 503 busy\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n"
        writer.write(head.encode())
        writer.close()

    async with await asyncio.start_server(busy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await post(f"http://127.0.0.1:{port}/", b"{}", {}, LOCAL)
    assert (answer.status, answer.retry_after_s) == (503, pause_s)


async def test_nobody_listens_and_no_such_name_are_failures() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "0" in str((await post(f"http://127.0.0.1:{port}/", b"{}", {}, LOCAL)).status)
    unknown = await post("http://no-such-host.invalid/", b"{}", {}, LOCAL)
    assert "cannot be resolved" in unknown.reason
