"""Server-Sent Events: the live results for whoever has no WebSocket, such as curl."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from services.query.live import event_stream
from tests.credentials import bearer, put, query_token
from tests.services.query.conftest import Place, Worker
from tests.services.query.test_live import (
    ELSEWHERE,
    LEAVING,
    READER,
    TIMEOUT_S,
    WRITER,
    Events,
    Service,
    define,
    delete,
    tokens,
)

__all__ = ["tokens"]


class Message(NamedTuple):
    """One event of a stream."""

    name: str
    data: Any
    id: str


class Stream:
    """The messages of one connection."""

    def __init__(self, answer: httpx.Response) -> None:
        self.headers = answer.headers
        self._lines = answer.iter_lines()

    def receive(self) -> Message:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return Message(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        raise EOFError


@pytest.fixture
def service(place: Place) -> Service:
    """The shared service, with a project of the test's own."""
    return Service(place)


def address(service: Service, path: str) -> str:
    return f"http://127.0.0.1:{service.port}/api/projects/{service.project}/live/{path}"


@contextlib.contextmanager
def following(service: Service, path: str, token: str = READER, **headers: str) -> Iterator[Stream]:
    shown = {**bearer(token), **{name.replace("_", "-"): value for name, value in headers.items()}}
    with httpx.stream("GET", address(service, path), headers=shown, timeout=TIMEOUT_S) as answer:
        assert answer.status_code == 200, answer.read()
        yield Stream(answer)


def test_a_stream_has_the_results_now_and_whenever_they_change(
    service: Service, place: Place, worker: Worker
) -> None:
    define(place, "buy")
    with following(service, "funnels") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        message = stream.receive()
        assert message.name == "funnels"
        assert message.data["reset"]
        while not message.data["funnels"]:
            message = stream.receive()
        worker.publish({"reached": [3, 1]})
        while True:
            [one] = stream.receive().data["funnels"]
            if one["totals"]["steps"][0]["reached"] == 3:
                break


def test_who_comes_again_gets_nothing_or_all_there_is(
    service: Service, place: Place, worker: Worker
) -> None:
    for name in ("buy", "cart"):
        define(place, name)
    worker.publish({"reached": [3, 1]})
    with following(service, "funnels") as stream:
        held: dict[str, Any] = {}
        while set(held) != {"buy", "cart"} or held["buy"]["totals"]["steps"][0]["reached"] != 3:
            message = stream.receive()
            held |= {one["id"]: one for one in message.data["funnels"]}
    with following(service, "funnels", last_event_id=message.id) as stream:
        define(place, "third")
        again = stream.receive()
        assert "reset" not in again.data
        assert [one["id"] for one in again.data["funnels"]] == ["third"]
    delete(place, "funnel", "cart")
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with following(service, "funnels", last_event_id=again.id) as stream:
            all_there_is = stream.receive().data
        if {one["id"] for one in all_there_is["funnels"]} == {"buy", "third"}:
            break
        assert time.monotonic() < deadline
    assert all_there_is["reset"]


def test_one_definition_is_followed_alone(service: Service, place: Place) -> None:
    for name in ("buy", "cart"):
        define(place, name)
    deadline = time.monotonic() + TIMEOUT_S
    while httpx.head(address(service, "funnels/cart"), headers=bearer(READER)).status_code == 404:
        assert time.monotonic() < deadline
    with following(service, "funnels/cart") as stream:
        assert [one["id"] for one in stream.receive().data["funnels"]] == ["cart"]
        define(place, "buy", 2)
        define(place, "cart", 2)
        assert [one["id"] for one in stream.receive().data["funnels"]] == ["cart"]


def test_events_are_sampled(service: Service, place: Place) -> None:
    events = Events(place)
    with following(service, "events?sample=0.5") as stream:
        events.publish(*(["view"] * 10))
        seen = left_out = 0
        while seen + left_out < 10:
            message = stream.receive()
            assert (message.name, message.id) == ("events", "")
            seen += len(message.data["events"])
            left_out += message.data["sampled_out"]
        assert seen == 5


def test_an_event_whose_properties_have_line_breaks_is_one_message(
    service: Service, place: Place
) -> None:
    events = Events(place)
    with following(service, "events") as stream:
        events.publish("view", properties='{"a":\n\n1,\r\r"data":\n":\\n"}')
        (shown,) = stream.receive().data["events"]
        assert shown["properties"] == {"a": 1, "data": ":\n"}
        events.publish("click")
        (shown,) = stream.receive().data["events"]
        assert shown["event"] == "click"


@pytest.mark.parametrize(
    ("path", "token", "status", "field"),
    [
        ("funnels", "aqt_unknown", 401, ""),
        ("funnels", WRITER, 403, ""),
        ("funnels", ELSEWHERE, 403, ""),
        ("plans", READER, 404, ""),
        ("funnels/none", READER, 404, ""),
        ("events/none", READER, 404, ""),
        ("funnels?sample=1", READER, 400, "sample"),
        ("events?sample=2", READER, 400, "sample"),
        ("events?more=2", READER, 400, "more"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    service: Service, path: str, token: str, status: int, field: str
) -> None:
    answer = httpx.get(address(service, path), headers=bearer(token), timeout=TIMEOUT_S)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].get("field", "") == field


def test_another_media_type_is_refused(service: Service) -> None:
    headers = bearer(READER) | {"accept": "application/json"}
    answer = httpx.get(address(service, "funnels"), headers=headers, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Accept")


def test_a_token_that_is_revoked_ends_the_stream_with_the_reason(
    service: Service, place: Place
) -> None:
    put(place.settings, query_token(LEAVING))
    deadline = time.monotonic() + TIMEOUT_S
    while httpx.head(address(service, "funnels"), headers=bearer(LEAVING)).status_code != 200:
        assert time.monotonic() < deadline
    with following(service, "funnels", LEAVING) as stream:
        put(place.settings, query_token(LEAVING, expires_at=1))
        while (message := stream.receive()).name != "error":
            pass
        assert message.data["error"]["code"] == "unauthorized"
        with pytest.raises(EOFError):
            stream.receive()


def test_a_quiet_stream_has_comments(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.2)
    with following(service, "events") as stream:
        lines = iter(stream._lines)
        assert next(lines) == "retry: 1000"
        assert next(line for line in lines if line) == ":"


def test_a_client_that_does_not_read_is_disconnected(
    service: Service, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "WRITE_TIMEOUT_S", 0.5)
    before = service.refused("slow_reader")
    events = Events(place)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.connect(("127.0.0.1", service.port))
        line.sendall(
            f"GET /api/projects/{service.project}/live/events HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {READER}\r\n\r\n".encode()
        )
        assert line.recv(15) == b"HTTP/1.1 200 OK"
        deadline = time.monotonic() + TIMEOUT_S
        while service.refused("slow_reader") == before:
            events.publish(*(["view"] * 50), properties=json.dumps({"x": "y" * 10_000}))
            assert time.monotonic() < deadline
