"""gRPC: the results of `POST /v1/events`, in a call or on a stream, and the same promises."""

import json
import queue
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import grpc
import hypothesis
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from hypothesis import given
from hypothesis import strategies as st

from schemas.avila_pb2 import DESCRIPTOR, Event, TrackRequest, TrackResponse, Verdict
from schemas.errors import InvalidRequest, Misconfigured
from schemas.settings import Settings
from services.broker import Broker
from services.ingest.formats.protobuf import parse
from services.ingest.limits import Limits, TooLarge
from services.ingest.server import IngestServer
from services.listening import listen
from tests.conftest import free_ports
from tests.credentials import KEY, put, write_key
from tests.services.ingest.conftest import (
    SCHEMA_ID,
    TIMEOUT_S,
    UNHURRIED,
    Ingest,
    deployment,
    eventually,
    read_inbox,
    serving,
)
from tests.services.ingest.test_faults import OwnBroker, own_broker, own_settings

__all__ = ["own_broker", "own_settings"]

StatusCode = grpc.StatusCode
TRACK = "/avila.v1.Ingest/Track"
STREAM = "/avila.v1.Ingest/TrackStream"
_SHOWN = (("authorization", f"Bearer {KEY}"),)
HELD = "avila_ingest_held_bytes"
UNACKNOWLEDGED = "avila_ingest_unacknowledged_events"
SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING


class Feed:
    """The messages of a client's stream: sent when they are put, until `end`."""

    def __init__(self, *requests: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for request in requests:
            self.put(request)

    def put(self, request: Any) -> None:
        self._requests.put(request)

    def end(self) -> None:
        self._requests.put(None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._requests.get, None)


class Client:
    """A gRPC client of a service that runs, and the service's HTTP side."""

    def __init__(self, ingest: Ingest, channel: grpc.Channel, address: str) -> None:
        self.ingest = ingest
        self.channel = channel
        self.address = address

    def track(self, *events: Event, **fields: Any) -> list[Any]:
        call = self.channel.unary_unary(
            TRACK, TrackRequest.SerializeToString, TrackResponse.FromString
        )
        answer = call(TrackRequest(events=events, **fields), timeout=TIMEOUT_S, metadata=_SHOWN)
        return list(answer.results)

    def track_bytes(self, body: bytes) -> bytes:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(TRACK)
        return bytes(call(body, timeout=TIMEOUT_S, metadata=_SHOWN))

    def track_late(self, feed: Feed, timeout_s: float = TIMEOUT_S) -> Any:
        """A call with one batch, whose message comes when `feed` has it."""
        call = self.channel.stream_unary(
            TRACK, TrackRequest.SerializeToString, TrackResponse.FromString
        )
        return call.future(iter(feed), timeout=timeout_s, metadata=_SHOWN)

    def stream(self, requests: Any) -> Any:
        call = self.channel.stream_stream(STREAM, _serialized, TrackResponse.FromString)
        return call(iter(requests), timeout=TIMEOUT_S, metadata=_SHOWN)

    def health(self, service: str = "") -> int:
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        return int(answer.status)


def _serialized(request: TrackRequest | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


@contextmanager
def connected(settings: Settings, **limits: Any) -> Iterator[Client]:
    """Run a service with gRPC and a client of it."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    with (
        serving(settings, grpc_port=port, **limits) as ingest,
        grpc.insecure_channel(address) as channel,
    ):
        grpc.channel_ready_future(channel).result(TIMEOUT_S)
        yield Client(ingest, channel, address)


@pytest.fixture
def connect(shared: Ingest) -> Iterator[Callable[..., Client]]:
    """Start services with limits of the test's choice, whose inbox is empty then."""
    with ExitStack() as stack:

        def start(**limits: Any) -> Client:
            client = stack.enter_context(connected(shared.settings, **limits))
            client.ingest.begin()
            return client

        yield start


@pytest.fixture(scope="module")
def client(broker: Broker) -> Iterator[Client]:
    """A client of a service that tests share which do not look at what is on the inbox."""
    with deployment(broker) as settings, connected(settings) as client:
        yield client


def event(**fields: Any) -> Event:
    return Event(**{"event": "view", "distinct_id": "u1", "event_id": str(uuid.uuid4())} | fields)


def batch(*ids: str) -> TrackRequest:
    return TrackRequest(events=[event(event_id=name) for name in ids])


def names(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


def refusal(do: Callable[[], Any]) -> Any:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        do()
    return caught.value


def trailers(error: Any) -> dict[str, str]:
    return dict(error.trailing_metadata())


# ── what the events become ───────────────────────────────────────────────────────────────────────


SAME: list[dict[str, Any]] = [
    {},
    {
        "project_id": "default",
        "anonymous_id": "device-9",
        "session_id": "visit-3",
        "timestamp": 1_772_359_200_250,
        "sent_at": 1_772_359_201_000,
        "properties": {"amount": 12.5, "für": "Grüße 🎁", "tags": ["a", None, True]},
        "context": {"library": {"name": "test"}},
    },
    {"event_id": "order 7"},
    {"event": ""},
    {"distinct_id": "x" * 201},
    {"project_id": "no project"},
    {"timestamp": -1},
    {"sent_at": -1},
    {"properties": ["no", "object"]},
    {"properties": {str(number): number for number in range(1_001)}},
    {"context": {"a": "x" * 300_000}},
]


def test_an_event_has_the_result_of_the_rest_door_and_stands_on_the_inbox_as_from_it(
    connect: Callable[..., Client],
) -> None:
    events = [
        {"event": "view", "distinct_id": "u1", "event_id": str(uuid.uuid4())} | one for one in SAME
    ]
    sent = 1_772_359_205_000
    client = connect()

    by_rest = client.ingest.results({"events": events, "sent_at": sent})
    by_grpc = client.track(*(Event(**_as_bytes(one)) for one in events), sent_at=sent)

    verdicts = {Verdict.Name(one.verdict) for one in by_grpc}
    assert verdicts == {"VERDICT_OK", "VERDICT_WARNING", "VERDICT_DROP"}
    assert [
        {
            "event_id": one.event_id,
            "result": Verdict.Name(one.verdict).removeprefix("VERDICT_").lower(),
            "details": one.details,
            "field": one.field,
        }
        for one in by_grpc
    ] == [{"details": "", "field": ""} | one for one in by_rest]
    stored = client.ingest.inbox()
    kept = [_comparable(one) for one in stored]
    taken = sum(one["result"] in {"ok", "warning"} for one in by_rest)
    assert len(kept) == 2 * taken
    assert all(kept.count(one) == 2 for one in kept if "timestamp" in one)


def _as_bytes(fields: dict[str, Any]) -> dict[str, Any]:
    texts = {
        name: json.dumps(fields[name], separators=(",", ":"), ensure_ascii=False).encode()
        for name in ("properties", "context")
        if name in fields
    }
    return fields | texts


def _comparable(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored event without the times of its receipt."""
    received_at = stored.pop("received_at")
    if stored["timestamp"] == received_at:
        del stored["timestamp"]
    return stored


def test_what_is_left_open_gets_its_default(connect: Callable[..., Client]) -> None:
    client = connect()

    [result] = client.track(Event(event="view", distinct_id="u1"), project_id="default")

    [stored] = client.ingest.inbox()
    assert (
        result
        == TrackResponse(
            results=[{"event_id": stored["event_id"], "verdict": Verdict.VERDICT_OK}]
        ).results[0]
    )
    assert uuid.UUID(stored["event_id"]).version == 4
    assert stored["project_id"] == "default"
    assert stored["timestamp"] == stored["received_at"]
    assert stored["sent_at"] is stored["anonymous_id"] is stored["session_id"] is None
    assert stored["properties"] == stored["context"] == "{}"


@pytest.mark.parametrize("field", ["properties", "context"])
@pytest.mark.parametrize("text", [b"{", b"nothing", b"\xff", b"[" * 100_000, b"{}{}"])
def test_an_event_whose_json_cannot_be_read_is_dropped_alone(
    client: Client, field: str, text: bytes
) -> None:
    fields: dict[str, Any] = {field: text}

    results = client.track(event(), event(**fields), event())

    assert [one.verdict for one in results] == [1, 3, 1]
    assert (results[1].field, bool(results[1].details)) == (field, True)


def test_the_key_of_a_call_is_the_batchs() -> None:
    assert parse(batch("a").SerializeToString(), "secret", Limits()).key == "secret"


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_is_answered_in_its_order_with_a_result_for_each_event(
    connect: Callable[..., Client],
) -> None:
    client = connect(max_stream_batches=8)
    batches = [names(1 + 97 * number % 700) for number in range(60)]

    answers = list(client.stream(batch(*ids) for ids in batches))

    assert [[one.event_id for one in answer.results] for answer in answers] == batches
    assert {one.verdict for answer in answers for one in answer.results} == {Verdict.VERDICT_OK}
    stored = [one["event_id"] for one in client.ingest.inbox()]
    # All are of one person, so of one partition: in the order in which they were sent.
    assert stored == [name for ids in batches for name in ids]
    assert client.ingest.metric(HELD) == 0
    assert client.ingest.metric('avila_ingest_events_total{format="grpc",result="ok"}') == len(
        stored
    )
    assert client.ingest.metric('avila_ingest_requests_total{format="grpc",status="OK"}') == 60


def test_a_stream_ends_where_a_batch_is_refused_and_nothing_behind_it_is_taken(
    connect: Callable[..., Client],
) -> None:
    client = connect()
    before, behind = names(3), names(1)
    call = client.stream([batch(*before), b"\xff\xff", batch(*behind)])

    assert [one.event_id for one in next(call).results] == before
    error = refusal(lambda: next(call))

    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert trailers(error)["error-code"] == "invalid"
    assert [one["event_id"] for one in client.ingest.inbox()] == before
    assert client.ingest.metric(HELD) == 0


def test_a_client_that_leaves_a_stream_loses_nothing_that_was_acknowledged(
    connect: Callable[..., Client],
) -> None:
    client = connect()
    feed = Feed(*(batch(*names(50)) for _ in range(40)))
    call = client.stream(feed)
    acknowledged = {one.event_id for _ in range(5) for one in next(call).results}

    call.cancel()
    feed.end()

    eventually(lambda: client.ingest.metric(HELD) == 0)
    eventually(lambda: client.ingest.metric(UNACKNOWLEDGED) == 0)
    assert acknowledged <= {one["event_id"] for one in client.ingest.inbox()}


def test_a_stream_waits_for_its_own_batches_when_they_fill_the_memory(
    connect: Callable[..., Client],
) -> None:
    large = [TrackRequest(events=[event(properties=b'{"a":"%s"}' % (b"x" * 20_000))])] * 50
    client = connect(max_held_bytes=50_000)

    answers = list(client.stream(large))

    assert [answer.results[0].verdict for answer in answers] == [Verdict.VERDICT_OK] * 50


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_too_many_events_are_refused_together(connect: Callable[..., Client]) -> None:
    client = connect(max_events=3)

    error = refusal(lambda: client.track(*[event()] * 4))

    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert trailers(error)["error-code"] == "too_large"
    assert "3 (max_events)" in error.details()
    assert len(client.track(*[event()] * 3)) == 3


def test_events_are_counted_before_they_are_made() -> None:
    limits = Limits(max_events=100)
    full = TrackRequest(events=[event(distinct_id="x" * 200)] * 100, project_id="p", sent_at=1)

    assert len(parse(full.SerializeToString(), "", limits).events) == 100
    with pytest.raises(TooLarge, match=r"100 \(max_events\)"):
        parse(b"\n\0" * 1_000_000, "", limits)


@pytest.mark.parametrize("body", [b"\x80" * 1_000_000, b"\x0b" * 1_000_000, b"\x0a" * 1_000])
def test_a_large_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body, "", Limits(max_events=10))


def test_too_large_a_message_is_refused(connect: Callable[..., Client]) -> None:
    client = connect(max_message_bytes=5_000)
    large = event(properties=b'{"a":"%s"}' % (b"x" * 5_000))

    for do in (
        lambda: client.track(large),
        lambda: list(client.stream([TrackRequest(events=[large])])),
    ):
        error = refusal(do)
        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
        assert "5000" in error.details()
    assert len(client.track(event())) == 1
    assert client.ingest.metric(HELD) == 0


def test_calls_beyond_the_memory_there_is_are_told_to_come_back(
    connect: Callable[..., Client],
) -> None:
    client = connect(max_held_bytes=10_000)
    large = event(properties=b'{"a":"%s"}' % (b"x" * 10_000))

    for do in (
        lambda: client.track(large),
        lambda: list(client.stream([TrackRequest(events=[large])])),
    ):
        error = refusal(do)
        assert (error.code(), trailers(error)["error-code"]) == (StatusCode.UNAVAILABLE, "back_off")
        assert trailers(error)["retry-after"] == "1"
        assert trailers(error)["grpc-retry-pushback-ms"] == "1000"
    assert len(client.track(event())) == 1
    assert client.ingest.metric(HELD) == 0


def test_calls_beyond_as_many_as_may_be_open_are_told_to_come_back(
    connect: Callable[..., Client],
) -> None:
    client = connect(max_calls=1)
    feed = Feed(batch("a"))
    call = client.stream(feed)
    next(call)

    # On this connection the client would wait for its stream to end: HTTP/2 tells it how many.
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(client.address, own) as other:
        error = refusal(lambda: Client(client.ingest, other, client.address).track(event()))

    assert (error.code(), trailers(error)["retry-after"]) == (StatusCode.UNAVAILABLE, "1")
    assert "1 calls (max_calls)" in error.details()
    feed.end()
    assert list(call) == []
    assert len(client.track(event())) == 1


def test_calls_without_a_valid_key_shut_nobody_out(connect: Callable[..., Client]) -> None:
    client = connect(max_calls=1)
    with ExitStack() as stack:
        for shown in ((), (("authorization", "Bearer awk_unknown"),)):
            feed = Feed()  # its call is open as long as the service lets it be
            stack.callback(feed.end)
            stream = client.channel.stream_stream(STREAM, _serialized, TrackResponse.FromString)
            call = client.channel.stream_unary(
                TRACK, TrackRequest.SerializeToString, TrackResponse.FromString
            )
            for refused in (
                stream(iter(feed), timeout=TIMEOUT_S, metadata=shown),
                call.future(iter(feed), timeout=TIMEOUT_S, metadata=shown),
            ):
                assert refused.code() is StatusCode.UNAUTHENTICATED
        assert len(client.track(event())) == 1


def test_a_project_that_takes_all_calls_gives_one_to_another(settings: Settings) -> None:
    put(settings, write_key("awk_loud", "loud"))
    shown = (("authorization", "Bearer awk_loud"),)
    own = [("grpc.use_local_subchannel_pool", 1)]
    with connected(settings, max_calls=2) as client:
        feeds = [Feed(batch("a")), Feed(batch("b"))]
        loud = []
        for feed in feeds:
            call = client.channel.stream_stream(STREAM, _serialized, TrackResponse.FromString)
            loud.append(call(iter(feed), timeout=TIMEOUT_S, metadata=shown))
            assert len(next(loud[-1]).results) == 1
        with grpc.insecure_channel(client.address, own) as channel:
            quiet = Client(client.ingest, channel, client.address)
            late = Feed()
            call = quiet.track_late(late)
            error = refusal(lambda: next(loud[1]))
            late.put(TrackRequest(events=[event()]))
            late.end()
            assert len(call.result().results) == 1
        assert error.code() is StatusCode.UNAVAILABLE
        assert "all calls (max_calls) are taken" in error.details()
        feeds[0].put(batch("c"))
        assert len(next(loud[0]).results) == 1
        for feed in feeds:
            feed.end()


def test_a_message_that_does_not_come_is_not_waited_for(connect: Callable[..., Client]) -> None:
    client = connect(read_timeout_s=0.2)
    feed = Feed()

    error = refusal(client.track_late(feed).result)

    feed.end()
    assert (error.code(), trailers(error)["error-code"]) == (
        StatusCode.INVALID_ARGUMENT,
        "too_slow",
    )
    assert "read_timeout_s" in error.details()


def test_a_call_without_a_message_is_refused(client: Client) -> None:
    feed = Feed()
    feed.end()

    error = refusal(client.track_late(feed).result)

    assert (error.code(), error.details()) == (
        StatusCode.INVALID_ARGUMENT,
        "the call has no message",
    )


def test_a_call_past_its_deadline_leaves_nothing_behind(connect: Callable[..., Client]) -> None:
    client = connect(max_calls=1)
    feed = Feed()

    error = refusal(client.track_late(feed, timeout_s=0.3).result)

    feed.end()
    assert error.code() is StatusCode.DEADLINE_EXCEEDED
    # The service has a clock of its own, so it may have noticed later.
    eventually(lambda: _has_room(client))


def _has_room(client: Client) -> bool:
    try:
        return len(client.track(event())) == 1
    except grpc.RpcError:
        return False


# ── anything at all ──────────────────────────────────────────────────────────────────────────────


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {},
        optional={
            "event": st.text(max_size=5),
            "distinct_id": st.text(max_size=5),
            "event_id": st.text(max_size=5),
            "timestamp": st.integers(-(2**63), 2**63 - 1),
            "properties": st.binary(max_size=9) | st.just(b'{"a":1}'),
        },
    )
    events = [Event(**one) for one in draw(st.lists(fields, max_size=4))]
    body = bytearray(TrackRequest(events=events).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body)


BODIES = st.binary(max_size=200) | bodies()


@hypothesis.settings(UNHURRIED, max_examples=300)
@given(body=BODIES, max_events=st.sampled_from([1, 10_000]))
def test_any_bytes_are_read_or_refused(body: bytes, max_events: int) -> None:
    try:
        found = parse(body, "", Limits(max_events=max_events))
    except InvalidRequest:
        return
    assert len(found.events) == len(TrackRequest.FromString(body).events)


@hypothesis.settings(UNHURRIED, max_examples=60)
@given(body=BODIES)
def test_no_message_is_an_error_of_the_server(client: Client, body: bytes) -> None:
    try:
        expected = len(parse(body, "", Limits()).events)
    except InvalidRequest:
        error = refusal(lambda: client.track_bytes(body))
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert error.details()
        return
    results = TrackResponse.FromString(client.track_bytes(body)).results
    assert len(results) == expected
    assert {one.verdict for one in results} <= {1, 2, 3}


# ── the service ──────────────────────────────────────────────────────────────────────────────────


def test_the_service_describes_itself(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    pool = DescriptorPool(database)

    assert set(database.get_services()) == {
        "avila.v1.Ingest",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    service = pool.FindServiceByName("avila.v1.Ingest")
    assert [method.name for method in service.methods] == ["Track", "TrackStream"]
    assert service.file.serialized_pb == DESCRIPTOR.serialized_pb


def _is_healthy(client: Client, service: str) -> bool:
    return client.health(service) == SERVING


def test_the_service_is_healthy_when_it_is_ready(client: Client) -> None:
    for service in ("", "avila.v1.Ingest"):
        eventually(partial(_is_healthy, client, service))
    assert refusal(lambda: client.health("another")).code() is StatusCode.NOT_FOUND


def test_a_service_that_stops_answers_what_is_in_flight(settings: Settings) -> None:
    with connected(settings) as client:
        late, feed = Feed(), Feed()
        call = client.track_late(late)
        stream = client.stream(feed)
        ids = names(20)
        for name in ids:
            feed.put(batch(name))
        acknowledged = [next(stream).results[0].event_id]
        client.ingest.server.stop()

        late.put(batch(*names(2)))
        late.end()
        error = refusal(lambda: acknowledged.extend(one.results[0].event_id for one in stream))

        assert [one.verdict for one in call.result().results] == [Verdict.VERDICT_OK] * 2
        assert error.code() is StatusCode.UNAVAILABLE
        assert "connect again" in error.details()
        feed.end()
    assert acknowledged == ids[: len(acknowledged)]
    assert set(acknowledged) <= {one["event_id"] for one in read_inbox(settings)}


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        listen("127.0.0.1", 0, "test") as listener,
    ):
        port = other.getsockname()[1]
        server = IngestServer(settings, listener, SCHEMA_ID, grpc_port=port)

        with pytest.raises(Misconfigured, match=f"127.0.0.1:{port}"):
            server.run()


@pytest.mark.faults
def test_batches_wait_for_the_broker_together_and_are_answered_when_it_does_not_come(
    own_broker: OwnBroker, own_settings: Settings
) -> None:
    limits = {"max_unacknowledged_events": 30, "delivery_timeout_ms": 3_000}
    with connected(own_settings, **limits) as client:
        eventually(lambda: client.health() == SERVING)
        feed = Feed()
        stream = client.stream(feed)
        feed.put(batch(*names(10)))
        assert {one.verdict for one in next(stream).results} == {Verdict.VERDICT_OK}
        own_broker.running.kill()
        for _ in range(3):
            feed.put(batch(*names(10)))
        eventually(lambda: client.ingest.metric(UNACKNOWLEDGED) == 30)

        error = refusal(lambda: client.track(event()))

        assert (error.code(), trailers(error)["retry-after"]) == (StatusCode.UNAVAILABLE, "1")
        assert "30 events (max_unacknowledged_events)" in error.details()
        for _ in range(3):
            assert {one.verdict for one in next(stream).results} == {Verdict.VERDICT_RETRY}
        eventually(lambda: client.health() == NOT_SERVING)
        feed.end()


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ((), "a write key is required"),
        ((("authorization", "Bearer awk_unknown"),), "unknown or was revoked"),
    ],
)
def test_without_a_write_key_nothing_is_taken(
    client: Client, shown: tuple[tuple[str, str], ...], why: str
) -> None:
    for method, call in (("unary", _unary), ("stream", _stream)):
        with pytest.raises(grpc.RpcError) as refused:
            call(client.channel, shown)
        error: Any = refused.value
        assert (method, error.code()) == (method, grpc.StatusCode.UNAUTHENTICATED)
        assert why in error.details()


def _unary(channel: grpc.Channel, shown: tuple[tuple[str, str], ...]) -> Any:
    call = channel.unary_unary(TRACK, TrackRequest.SerializeToString, TrackResponse.FromString)
    return call(batch("a"), timeout=TIMEOUT_S, metadata=shown)


def _stream(channel: grpc.Channel, shown: tuple[tuple[str, str], ...]) -> Any:
    call = channel.stream_stream(STREAM, _serialized, TrackResponse.FromString)
    return list(call(iter([batch("a")]), timeout=TIMEOUT_S, metadata=shown))
