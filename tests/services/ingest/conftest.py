"""An ingest service on a port of its own, in a thread of its own.

Tests that send events and define nothing share one (`ingest`, or `shared` if they do not look at
what it has done), and its topics: each sees what came to the inbox, and what was counted, since it
began. A test with limits of its own starts a service on the same topics (`serve`); one that writes
keys or plans has topics of its own (`settings`, `own`).
"""

import io
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import fastavro
import httpx
import hypothesis
import pytest
from confluent_kafka import Message

from schemas.avro.files import load
from schemas.settings import Settings, read_settings
from services.broker import Broker
from services.ingest.limits import Limits
from services.ingest.server import IngestServer
from services.listening import listen
from services.topics import ensure_topics
from tests.conftest import PARTITIONS, idle_consumers, left_topics
from tests.credentials import KEY, bearer, put, put_keys, query_token
from tests.kafka import Tail, read_all
from tests.processes import eventually as holds_eventually

SCHEMA_ID = 7
TIMEOUT_S = 120.0

# Hypothesis judges by wall-clock time, which on a shared machine says nothing of the code.
UNHURRIED = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


class Ingest:
    """A running service and what tests ask of it, since `begin` was last called."""

    def __init__(
        self, settings: Settings, port: int, server: IngestServer, schema_id: int = SCHEMA_ID
    ) -> None:
        self.schema_id = schema_id
        self.settings = settings
        self.port = port
        self.server = server
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S, headers=bearer(KEY)
        )
        self._inbox: Tail | None = None
        self._counted: dict[str, float] = {}

    def begin(self) -> None:
        """Show only what comes from now on."""
        self._inbox = self._inbox or Tail(self.settings.bootstrap, self.settings.topics.inbox.name)
        self._inbox.skip()
        self._counted = dict(self._samples())

    def close(self) -> None:
        """Disconnect from the service and the broker."""
        self.http.close()
        if self._inbox is not None:
            self._inbox.close()

    def post(self, body: Any = None, **request: Any) -> httpx.Response:
        """Post `body` as JSON, or `content=…` as it is."""
        if body is not None:
            request["json"] = body
        return self.http.post("/v1/events", **request)

    def results(self, body: Any = None, **request: Any) -> list[dict[str, Any]]:
        """Post `body` and return the results of its events."""
        answer = self.post(body, **request)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def inbox(self) -> list[dict[str, Any]]:
        """All events on the inbox, decoded by fastavro."""
        return [decode(record.value() or b"", self.schema_id) for record in self.records()]

    def records(self) -> list[Message]:
        """All records on the inbox, by partition and offset."""
        if self._inbox is None:
            self._inbox = Tail(self.settings.bootstrap, self.settings.topics.inbox.name)
        return self._inbox.read()

    def metric(self, line: str) -> float:
        """The value of the metric whose line starts with `line`; of a counter, what was added."""
        value = dict(self._samples()).get(line, 0.0)
        is_counter = line.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))
        return value - self._counted.get(line, 0.0) if is_counter else value

    def _samples(self) -> Iterator[tuple[str, float]]:
        for text in self.http.get("/metrics").text.splitlines():
            if not text.startswith("#"):
                name, _, value = text.rpartition(" ")
                yield name, float(value)


def read_inbox(settings: Settings, schema_id: int = SCHEMA_ID) -> list[dict[str, Any]]:
    """All events on the inbox of a deployment, decoded by fastavro."""
    return [
        decode(message.value() or b"", schema_id)
        for message in read_all(settings.bootstrap, settings.topics.inbox.name)
    ]


def decode(value: bytes, schema_id: int = SCHEMA_ID) -> dict[str, Any]:
    """Read one event in Confluent wire format; nothing may follow the datum."""
    assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")
    stream = io.BytesIO(value[5:])
    event = fastavro.schemaless_reader(stream, load("event").plain, None)
    assert not stream.read()
    assert isinstance(event, dict)
    return event


def eventually(holds: Callable[[], bool]) -> None:
    """Return as soon as `holds()`; fail if it does not in time."""
    assert holds_eventually(holds, TIMEOUT_S), "still not so"


@contextmanager
def serving(
    settings: Settings,
    *,
    grpc_port: int | None = None,
    schema_id: int = SCHEMA_ID,
    **limits: Any,
) -> Iterator[Ingest]:
    """Run a service whose limits are the defaults but for `limits`, ready."""
    # A loaded machine is no reason for a retry, and the events of most tests have fixed times.
    limits = {"delivery_timeout_ms": 120_000, "max_event_age_days": 9_000} | limits
    with listen("127.0.0.1", 0, "test") as listener:
        server = IngestServer(settings, listener, schema_id, Limits(**limits), grpc_port=grpc_port)
        thread = threading.Thread(target=server.run, name="ingest")
        thread.start()
        ingest = Ingest(settings, listener.getsockname()[1], server, schema_id)
        try:
            eventually(lambda: ingest.http.get("/readyz").status_code == 200)
            yield ingest
        finally:
            ingest.close()
            server.stop()
            thread.join()


@contextmanager
def deployment(broker: Broker) -> Iterator[Settings]:
    """A deployment of which only an empty inbox and the keys exist."""
    settings = read_settings(
        {},
        kafka_bootstrap=broker.bootstrap,
        topic_prefix=f"t{uuid.uuid4().hex[:8]}",
        partitions=PARTITIONS,
    )
    topics = [settings.topics.inbox, settings.topics.definitions]
    ensure_topics(settings.bootstrap, topics, partitions=PARTITIONS, replication_factor=1)
    put_keys(settings)
    put(settings, query_token())
    left_topics.extend(topic.name for topic in topics)
    yield settings


@pytest.fixture(scope="session")
def shared(broker: Broker) -> Iterator[Ingest]:
    """A service with the default limits, for tests that do not look at what is on the inbox."""
    with deployment(broker) as settings, ExitStack() as stack:
        with idle_consumers():
            ingest = stack.enter_context(serving(settings))
        yield ingest


@pytest.fixture(scope="module")
def module_ingest(broker: Broker) -> Iterator[Ingest]:
    """A service with the default limits and an inbox of the module's own."""
    with deployment(broker) as settings, serving(settings) as ingest:
        yield ingest


@pytest.fixture
def ingest(shared: Ingest) -> Iterator[Ingest]:
    """The shared service, whose inbox is empty and whose counters are 0 when the test begins."""
    shared.begin()
    yield shared
    shared.http.headers = httpx.Headers(bearer(KEY))


@pytest.fixture
def serve(shared: Ingest) -> Iterator[Callable[..., Ingest]]:
    """Start services with limits of the test's choice, whose inbox is empty then."""
    with ExitStack() as stack:

        def start(**limits: Any) -> Ingest:
            ingest = stack.enter_context(serving(shared.settings, **limits))
            ingest.begin()
            return ingest

        yield start


@pytest.fixture
def settings(broker: Broker) -> Iterator[Settings]:
    """A deployment of the test's own."""
    with deployment(broker) as settings:
        yield settings


@pytest.fixture
def own(settings: Settings) -> Iterator[Ingest]:
    """A service with the default limits on a deployment of the test's own."""
    with serving(settings) as ingest:
        yield ingest
