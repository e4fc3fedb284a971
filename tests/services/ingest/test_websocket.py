"""The WebSocket: the results of `POST /v1/events`, answers in order, and the same promises."""

import contextlib
import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from schemas.settings import Settings
from tests.credentials import KEY, bearer, put, write_key
from tests.services.ingest.conftest import (
    TIMEOUT_S,
    UNHURRIED,
    Ingest,
    eventually,
    read_inbox,
    serving,
)

HELD = "avila_ingest_held_bytes"
OPEN = "avila_ingest_open_sockets"
UNACKNOWLEDGED = "avila_ingest_unacknowledged_events"
GONE = 'avila_ingest_clients_gone_total{format="websocket"}'
ANSWERED = 'avila_ingest_requests_total{format="websocket",status="200"}'
SHOWN: dict[str, Any] = {"additional_headers": bearer(KEY)}


class Stream:
    """One connection, in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def receive(self) -> Any:
        return json.loads(self.connection.recv(TIMEOUT_S))

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.receive()

    def end(self) -> tuple[list[Any], int, str]:
        """Return the remaining messages, and the code and reason of the close."""
        last = []
        try:
            while True:
                last.append(self.receive())
        except ConnectionClosed as closed:
            # 1006 stands for a line that was cut without a word.
            return (last, *((end.code, end.reason) if (end := closed.rcvd) else (1006, "")))


@contextmanager
def connected(ingest: Ingest, **options: Any) -> Iterator[Stream]:
    """A connection that has shown nothing yet, unless `options` do."""
    options = {"proxy": None, "open_timeout": TIMEOUT_S, "close_timeout": TIMEOUT_S} | options
    with connect(f"ws://127.0.0.1:{ingest.port}/v1/stream", **options) as connection:
        yield Stream(connection)


@contextmanager
def ready(ingest: Ingest, **options: Any) -> Iterator[Stream]:
    """A connection that may send."""
    with connected(ingest, **SHOWN | options) as stream:
        assert stream.receive() == {"ready": {"project_id": "default"}}
        yield stream


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "view", "distinct_id": "u1", "event_id": str(uuid.uuid4())} | fields


def batch(name: int, size: int = 1) -> dict[str, Any]:
    return {"id": name, "events": [event() for _ in range(size)]}


def taken(answers: list[Any]) -> set[str]:
    """The ids of events that were answered `ok`."""
    results = [result for answer in answers for result in answer.get("results", [])]
    return {result["event_id"] for result in results if result["result"] == "ok"}


def ids(batches: list[dict[str, Any]]) -> set[str]:
    return {one["event_id"] for batch in batches for one in batch["events"]}


# ── who may send ─────────────────────────────────────────────────────────────────────────────────


def test_the_key_may_be_the_first_message(ingest: Ingest) -> None:
    with connected(ingest) as stream:
        assert stream.ask({"write_key": KEY}) == {"ready": {"project_id": "default"}}
        assert stream.ask(batch(1))["results"][0]["result"] == "ok"
    assert len(ingest.inbox()) == 1


def test_nothing_is_compressed(shared: Ingest) -> None:
    with ready(shared) as stream:
        assert stream.connection.protocol.extensions == []


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (batch(1), "send {"),
        ({"write_key": "awk_unknown"}, "unknown or was revoked"),
        ({"write_key": "aqt_secret"}, "sends no events"),
        ({"write_key": ""}, "a write key is required"),
        ("no JSON", "send {"),
    ],
)
def test_a_first_message_that_is_no_key_ends_the_connection(
    shared: Ingest, first: Any, why: str
) -> None:
    with connected(shared) as stream:
        stream.send(first)
        [answer], code, reason = stream.end()
    assert (code, answer["error"]["code"]) == (1008, "unauthorized")
    assert why in answer["error"]["message"]
    assert "id" not in answer
    assert reason
    assert answer["error"]["message"].startswith(reason)


@pytest.mark.parametrize("shown", ["Bearer awk_unknown", "Bearer aqt_secret", "Digest x"])
def test_a_key_in_the_header_that_is_none_is_refused_in_http(shared: Ingest, shown: str) -> None:
    options: dict[str, Any] = {"additional_headers": {"Authorization": shown}}
    with pytest.raises(InvalidStatus) as refused, connected(shared, **options):
        pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert json.loads(answer.body or b"")["error"]["code"] == "unauthorized"


def test_a_page_of_an_origin_that_the_key_is_not_for_is_refused(
    settings: Settings,
) -> None:
    put(settings, write_key("awk_page", origins=("https://shop.example",)))
    with serving(settings) as ingest:
        with connected(ingest, origin="https://shop.example") as stream:
            assert "ready" in stream.ask({"write_key": "awk_page"})
        with connected(ingest, origin="https://other.example") as stream:
            stream.send({"write_key": "awk_page"})
            [answer], code, _ = stream.end()
    assert (code, answer["error"]["code"]) == (1008, "forbidden")


def test_a_key_that_goes_over_its_rate_is_told_when_to_go_on(
    settings: Settings,
) -> None:
    put(settings, write_key("awk_slow", events_per_s=1))
    shown = bearer("awk_slow")
    with serving(settings) as ingest, ready(ingest, additional_headers=shown) as stream:
        assert stream.ask(batch(1, 50))["id"] == 1
        refused = stream.ask(batch(2))
        assert (refused["id"], refused["error"]["code"]) == (2, "over_limit")
        assert 40 < refused["retry_after_s"] <= 50
        assert stream.ask({"id": 3, "events": []}) == {"id": 3, "results": []}


def test_a_plain_request_is_told_what_is_accepted(shared: Ingest) -> None:
    answer = shared.http.get("/v1/stream")
    assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")
    assert answer.json()["error"]["code"] == "upgrade_required"


# ── what the answers are ─────────────────────────────────────────────────────────────────────────


def test_a_batch_has_the_results_of_the_rest_door_and_stands_on_the_inbox(ingest: Ingest) -> None:
    body = {
        "events": [
            event(properties={"für": "Grüße 🎁"}),
            event(event=""),
            event(unknown=1),
            {"event": "view"},
            event(project_id="other"),
        ],
        "sent_at": "2026-03-01T00:00:00Z",
    }
    by_rest = ingest.results(body)
    with ready(ingest) as stream:
        answer = stream.ask({"id": "first", **body})
        bare = stream.ask(body)
    # Sent again, those with an id of their own are known.
    again = [one | ({"duplicate": True} if n in (0, 2) else {}) for n, one in enumerate(by_rest)]
    assert answer == {"id": "first", "results": again}
    assert bare == {"id": None, "results": again}
    assert [one["result"] for one in by_rest] == ["ok", "drop", "warning", "drop", "drop"]
    stored = [one["event_id"] for one in ingest.inbox()]
    assert len(stored) == 6
    assert set(stored) == {by_rest[0]["event_id"], by_rest[2]["event_id"]}


def test_batches_are_answered_in_their_order_also_those_that_are_refused(ingest: Ingest) -> None:
    batches = [batch(number, 1 + number % 7) for number in range(60)]
    wrong: list[tuple[Any, Any, str]] = [
        ("{", None, ""),
        ([], None, ""),
        ({"id": "x"}, "x", "events"),
        ({"id": "y", "events": 7}, "y", "events"),
        ({"id": 1.5, "events": []}, None, "id"),
        ({"id": "z" * 101, "events": []}, None, "id"),
        (b"\xff\xfe", None, ""),
    ]
    with ready(ingest) as stream:
        for one in batches:
            stream.send(one)
        for message, _, _ in wrong:
            stream.send(message)
        stream.send(batch(60))
        answers = [stream.receive() for _ in range(61 + len(wrong))]

    assert [one["id"] for one in answers[:60]] == list(range(60))
    assert taken(answers[:60]) == ids(batches)
    for (_, name, field), answer in zip(wrong, answers[60:-1], strict=True):
        assert (answer["id"], answer["error"].get("field", "")) == (name, field)
        assert answer["error"]["code"] == "invalid"
    assert answers[-1]["results"][0]["result"] == "ok"
    order = [one["event_id"] for one in ingest.inbox()]
    assert len(order) == len(ids(batches)) + 1


def test_too_many_events_are_refused_together(serve: Callable[..., Ingest]) -> None:
    ingest = serve(max_events=3)
    with ready(ingest) as stream:
        refused = stream.ask(batch(1, 4))
        assert (refused["id"], refused["error"]["code"]) == (1, "too_large")
        assert "(max_events)" in refused["error"]["message"]
        assert len(taken([stream.ask(batch(2, 3))])) == 3
    assert len(ingest.inbox()) == 3


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_too_large_a_message_ends_the_connection(serve: Callable[..., Ingest]) -> None:
    ingest = serve(max_socket_message_bytes=1_000)
    with ready(ingest) as stream:
        stream.send("x" * 1_001)
        assert stream.end()[1] == 1009
    eventually(lambda: ingest.metric(OPEN) == 0)
    assert ingest.metric(HELD) == 0


def test_a_message_in_too_many_pieces_ends_the_connection(shared: Ingest) -> None:
    with ready(shared) as stream:
        # The last frame, which ends the message, is one too many. Were there more, the kernel might
        # drop what it has for us when the service closes the line without having read them.
        stream.connection.send("" for _ in range(1_024))
        _, code, reason = stream.end()
    assert code == 1009
    assert "1024 frames" in reason


def test_connections_beyond_as_many_as_may_be_open_are_told_to_come_back(
    serve: Callable[..., Ingest],
) -> None:
    ingest = serve(max_sockets=1)
    with ready(ingest):
        with pytest.raises(InvalidStatus) as refused, ready(ingest):
            pass
        answer = refused.value.response
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert b"(max_sockets)" in (answer.body or b"")
    eventually(lambda: ingest.metric(OPEN) == 0)
    with ready(ingest) as stream:
        assert taken([stream.ask(batch(1))])


def test_strangers_who_never_show_a_key_shut_nobody_out(serve: Callable[..., Ingest]) -> None:
    ingest = serve(max_sockets=2, max_strangers=3)
    with contextlib.ExitStack() as stack, ready(ingest) as member:
        strangers = [stack.enter_context(connected(ingest)) for _ in range(8)]
        with connected(ingest) as late:
            assert "ready" in late.ask({"write_key": KEY})
            assert taken([late.ask(batch(1))])
        [answer], code, reason = strangers[0].end()
        assert (code, answer["error"]["code"]) == (1013, "back_off")
        assert reason == "3 newer connections have shown no credential yet"
        assert taken([member.ask(batch(2))])
    eventually(lambda: ingest.metric(OPEN) == 0)


def test_a_stranger_has_little_time_to_show_a_key(serve: Callable[..., Ingest]) -> None:
    with connected(serve(key_timeout_s=0.3)) as stream:
        [answer], code, _ = stream.end()
    assert (code, answer["error"]["code"]) == (1008, "too_slow")
    assert "(key_timeout_s)" in answer["error"]["message"]


def test_a_project_that_takes_all_sockets_gives_one_to_another(settings: Settings) -> None:
    put(settings, write_key("awk_loud", "loud"))
    loud_key = bearer("awk_loud")
    with serving(settings, max_sockets=3) as ingest, contextlib.ExitStack() as stack:
        loud = [
            stack.enter_context(connected(ingest, additional_headers=loud_key)) for _ in range(3)
        ]
        assert [one.receive()["ready"]["project_id"] for one in loud] == ["loud"] * 3
        with pytest.raises(InvalidStatus), connected(ingest, additional_headers=loud_key):
            pass
        loud[-1].send(batch(1, 50))
        answered = loud[-1].receive()
        with ready(ingest) as quiet:
            assert taken([quiet.ask(batch(2))])
            rest, code, reason = loud[-1].end()
            assert (code, rest[-1]["error"]["code"]) == (1013, "back_off")
            assert reason.startswith("all sockets (max_sockets) are taken")
            assert len(taken([answered, loud[0].ask(batch(3))])) == 51
    assert len(read_inbox(settings)) == 52


def test_a_connection_on_which_nothing_comes_is_closed(serve: Callable[..., Ingest]) -> None:
    with ready(serve(max_idle_s=0.5)) as stream:
        [answer], code, _ = stream.end()
    assert (code, answer["error"]["code"]) == (1008, "too_slow")
    assert "(max_idle_s)" in answer["error"]["message"]


@contextmanager
def unread(ingest: Ingest) -> Iterator[Stream]:
    """A connection whose own side holds as little as may be of what comes."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        line.connect(("127.0.0.1", ingest.port))
        with ready(ingest, sock=line, max_queue=1, ping_interval=None) as stream:
            yield stream


def test_who_sends_without_reading_is_not_read_on_and_loses_nothing(
    serve: Callable[..., Ingest],
) -> None:
    ingest = serve(max_stream_batches=4, write_timeout_s=TIMEOUT_S)
    batches = [batch(number, 100) for number in range(150)]
    size = len(json.dumps(batches[0]))
    with unread(ingest) as stream:

        def send() -> None:
            for one in batches:
                stream.send(one)

        sender = threading.Thread(target=send)
        sender.start()
        eventually(lambda: ingest.metric(HELD) > 3 * size and ingest.metric(UNACKNOWLEDGED) == 0)
        answered = ingest.metric(ANSWERED)
        assert answered < len(batches) - 4
        assert ingest.metric(HELD) < 5 * size
        answers = [stream.receive() for _ in batches]
        sender.join()
    assert [one["id"] for one in answers] == list(range(150))
    assert taken(answers) == ids(batches)
    assert {one["event_id"] for one in ingest.inbox()} == ids(batches)
    eventually(lambda: ingest.metric(OPEN) == 0)
    assert ingest.metric(HELD) == 0


def test_who_never_reads_is_cut_off(serve: Callable[..., Ingest]) -> None:
    ingest = serve(write_timeout_s=0.5)
    with unread(ingest) as stream:
        for number in range(40):
            stream.send(batch(number, 500))
        eventually(lambda: ingest.metric(OPEN) == 0)
        # 1006 if what waited for it was not read within some seconds either.
        assert stream.end()[1] in {1013, 1006}
    assert ingest.metric('avila_ingest_requests_total{format="websocket",status="503"}') == 1
    assert ingest.metric(HELD) == 0


def test_many_messages_that_come_at_once_are_all_answered(shared: Ingest) -> None:
    numbers = range(2_000)
    texts = [json.dumps({"id": number, "events": []}).encode() for number in numbers]
    with ready(shared, ping_interval=None) as stream:
        frames = [Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts]
        stream.connection.socket.sendall(b"".join(frames))
        answers = [stream.receive() for _ in numbers]
    assert answers == [{"id": number, "results": []} for number in numbers]


def test_who_pings_without_reading_has_the_latest_answered(shared: Ingest) -> None:
    client = ClientProtocol(parse_uri(f"ws://127.0.0.1:{shared.port}/v1/stream"))
    request = client.connect()
    request.headers.update(bearer(KEY))
    client.send_request(request)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        line.settimeout(TIMEOUT_S)
        line.connect(("127.0.0.1", shared.port))

        def come(kind: Opcode) -> list[bytes]:
            client.receive_data(line.recv(65_536))
            frames = [one for one in client.events_received() if isinstance(one, Frame)]
            return [bytes(one.data) for one in frames if one.opcode is kind]

        line.sendall(b"".join(client.data_to_send()))
        while not come(Opcode.TEXT):
            pass
        pings = [str(number).rjust(125).encode() for number in range(20_000)]
        for ping in pings:
            client.send_ping(ping)
        line.sendall(b"".join(client.data_to_send()))
        pongs: list[bytes] = []
        while pongs[-1:] != pings[-1:]:
            pongs += come(Opcode.PONG)
        assert len(pongs) < len(pings)
        client.send_text(json.dumps(batch(1)).encode())
        line.sendall(b"".join(client.data_to_send()))
        while not (answers := come(Opcode.TEXT)):
            pass
    assert len(taken([json.loads(answer) for answer in answers])) == 1


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_leaves_loses_nothing_that_was_acknowledged(ingest: Ingest) -> None:
    batches = [batch(number, 50) for number in range(20)]
    with ready(ingest) as stream:
        for one in batches:
            stream.send(one)
        answers = [stream.receive() for _ in range(3)]
        stream.connection.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: ingest.metric(OPEN) == 0)
    assert ingest.metric(HELD) == 0
    eventually(lambda: ingest.metric(UNACKNOWLEDGED) == 0)
    stored = [one["event_id"] for one in ingest.inbox()]
    assert taken(answers) == ids(batches[:3])
    assert taken(answers) <= set(stored) <= ids(batches)
    assert len(stored) == len(set(stored))


def test_a_client_that_leaves_in_the_middle_of_a_message_leaves_nothing_behind(
    ingest: Ingest,
) -> None:
    with ready(ingest) as stream:
        # A text of 100 bytes, masked, of which two come.
        stream.connection.socket.sendall(b"\x81\xe4\0\0\0\0{}")
        stream.connection.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: ingest.metric(OPEN) == 0)
    assert ingest.metric(HELD) == 0
    assert not ingest.inbox()


def test_a_service_that_stops_answers_what_it_has_read(settings: Settings) -> None:
    batches = [batch(number, 200) for number in range(40)]
    with serving(settings) as ingest, ready(ingest) as stream:
        for one in batches:
            stream.send(one)
        answers = [stream.receive()]
        ingest.server.stop()
        more, code, reason = stream.end()
        answers += more[:-1]
    assert more[-1]["error"]["code"] == "back_off"
    assert (code, reason) == (1012, "the service is stopping: connect again")
    assert [one["id"] for one in answers] == list(range(len(answers)))
    assert taken(answers) == ids(batches[: len(answers)])
    assert taken(answers) <= {one["event_id"] for one in read_inbox(settings)}


def test_a_service_that_stops_does_not_wait_for_a_key(settings: Settings) -> None:
    with serving(settings) as ingest, connected(ingest) as stream:
        eventually(lambda: ingest.metric(OPEN) == 1)
        ingest.server.stop()
        [answer], code, _ = stream.end()
    assert (code, answer["error"]["code"]) == (1012, "back_off")


# ── anything ─────────────────────────────────────────────────────────────────────────────────────


@UNHURRIED
@given(st.lists(st.binary(max_size=200) | st.text(max_size=200), min_size=1, max_size=20))
def test_any_message_has_an_answer(shared: Ingest, messages: list[str | bytes]) -> None:
    with ready(shared) as stream:
        for message in messages:
            stream.send(message)
        for _ in messages:
            answer = stream.receive()
            assert "results" in answer or answer["error"]["code"] == "invalid"


@UNHURRIED
@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_on_the_line_are_an_error_of_the_server(shared: Ingest, junk: bytes) -> None:
    with connected(shared, ping_interval=None) as stream:
        line = stream.connection.socket
        line.sendall(junk)
        with contextlib.suppress(OSError):  # the client may be done with it before we are
            line.shutdown(socket.SHUT_WR)
        assert stream.end()[1] in {1002, 1005, 1006, 1007, 1008, 1009}
    assert shared.http.get("/healthz").status_code == 200


def test_a_connection_outlives_the_time_that_its_head_has(serve: Callable[..., Ingest]) -> None:
    with ready(serve(read_timeout_s=0.2)) as stream:
        with pytest.raises(TimeoutError):  # nothing comes, although that time is over
            stream.connection.recv(0.6)
        assert stream.ask({"id": 1, "events": [{"event": "e", "distinct_id": "d"}]})["id"] == 1
