"""The query service in the test's own process, and a publisher in place of the worker.

Tests share one service (`query`) and its topics: each has projects of its own there, by whatever
names it calls them. A test that asks for `settings` has a deployment and a service of its own.
"""

import asyncio
import contextlib
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import httpx
import msgspec
import pyarrow as pa
import pytest
import uvicorn

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.operators.funnel import FUNNEL
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.broker import Broker
from services.listening import listen
from services.query import make_query_app
from services.query.server import serving_config
from tests.conftest import deployment, free_ports, idle_consumers
from tests.credentials import TOKEN, bearer, put, query_token
from tests.kafka import Record, produce
from tests.processes import eventually as holds_eventually
from tests.processes import pause_s

DEADLINE_S = 120.0
NOTHING = {"buckets": [], "counts": [], "sum_ms": 0}


@contextlib.asynccontextmanager
async def serve(settings: Settings, grpc_address: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """Run the application for the settings; it may be asked at once, ready or not.

    The client shows `TOKEN`.
    """
    app = make_query_app(settings, grpc_address=grpc_address)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://query", timeout=DEADLINE_S, headers=bearer(TOKEN)
        ) as client,
    ):
        yield client


async def eventually(
    ask: Callable[[], Awaitable[httpx.Response]], is_right: Callable[[httpx.Response], bool]
) -> httpx.Response:
    """Ask until the answer is right."""
    started = time.monotonic()
    while not is_right(answer := await ask()):
        assert time.monotonic() < started + DEADLINE_S, answer.text
        # An answer from memory never gives way to what it waits for on this loop.
        await asyncio.sleep(pause_s(started))
    return answer


async def ready(client: httpx.AsyncClient, *parts: str) -> None:
    """Wait until the parts named are ready (all views, if none are)."""

    def is_ready(answer: httpx.Response) -> bool:
        checks = answer.json()["checks"]
        awaited = parts or [part for part in checks if part.startswith("view ")]
        return all(checks[part] == "ok" for part in awaited)

    await eventually(lambda: client.get("/readyz"), is_ready)


def prepared(settings: Settings) -> Settings:
    """A deployment that knows `TOKEN`, and whose store is away."""
    put(settings, query_token())
    (port,) = free_ports(1)
    return msgspec.structs.replace(settings, clickhouse_dsn=f"http://127.0.0.1:{port}")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The test's own deployment, which knows `TOKEN`, and whose store is away."""
    return prepared(settings)


@contextlib.contextmanager
def serve_in_thread(settings: Settings, port: int = 0) -> Iterator[int]:
    """Run a query service in a thread of its own, on any port by default; yields its port."""
    with listen("127.0.0.1", port, "test") as listener:
        app = make_query_app(settings)
        server = uvicorn.Server(serving_config(app, settings.trusted_proxies))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def await_views(port: int) -> None:
    """Wait until the views of the service on this port have read their topics."""

    def are_ready() -> bool:
        checks = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=DEADLINE_S).json()["checks"]
        return all(checks[part] == "ok" for part in checks if part.startswith("view "))

    assert holds_eventually(are_ready, DEADLINE_S), "the views are not ready in time"


class SharedService(NamedTuple):
    """A service that all tests of a run may use, and the port that it listens on."""

    settings: Settings
    port: int


@pytest.fixture(scope="session")
def shared_service(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedService]:
    """A query service on a deployment whose store is away."""
    with deployment(broker, tmp_path_factory.mktemp("query")) as made:
        settings = prepared(made)
        with idle_consumers(), contextlib.ExitStack() as stack:
            port = stack.enter_context(serve_in_thread(settings))
            await_views(port)
            running = stack.pop_all()
        with running:
            yield SharedService(settings, port)


class Place(NamedTuple):
    """Where the projects of a test are.

    Attributes:
        settings: of the deployment.
        suffix: what follows the names that the test has for its projects.
        port: of a service that runs; 0 if the test is to run one.
    """

    settings: Settings
    suffix: str
    port: int

    def renamed(self, project: str) -> str:
        """The id of the project that the test calls `project`."""
        return project + self.suffix


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The test's own deployment if it asks for `settings`, or else the one that tests share."""
    if "settings" in request.fixturenames:
        return Place(request.getfixturevalue("settings"), "", 0)
    shared: SharedService = request.getfixturevalue("shared_service")
    return Place(shared.settings, f"-{uuid.uuid4().hex[:8]}", shared.port)


class RenamedProjects(httpx.AsyncHTTPTransport):
    """Asks a service for the projects of a place by the names that the test has for them."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as if the projects had the test's names."""
        path = request.url.raw_path.decode()
        request.url = request.url.copy_with(
            raw_path=_PROJECT.sub(lambda found: self._place.renamed(found[0]), path).encode()
        )
        answer = await super().handle_async_request(request)
        if location := answer.headers.get("location"):
            answer.headers["location"] = location.replace(self._place.suffix, "", 1)
        return answer


_PROJECT = re.compile(r"(?<=^/api/projects/)[^/?]+")


@pytest.fixture
async def query(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a query service whose views are ready."""
    async with contextlib.AsyncExitStack() as stack:
        if place.port:
            client = httpx.AsyncClient(
                transport=RenamedProjects(place),
                base_url=f"http://127.0.0.1:{place.port}",
                timeout=DEADLINE_S,
                headers=bearer(TOKEN),
            )
            await stack.enter_async_context(client)
        else:
            client = await stack.enter_async_context(serve(place.settings))
        await ready(client)
        yield client


class Worker:
    """Publishes results as the worker does: keys, wire format, partitions."""

    def __init__(self, place: Place) -> None:
        settings = self._settings = place.settings
        self._project = place.renamed("shop")
        self._topic = FUNNEL.aggregates.topic(settings.topics).name
        schema = load("funnel-result")
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(value_subject(self._topic), schema)
        self._encoder = Encoder(schema, schema_id)

    def publish(self, *results: dict[str, Any]) -> None:
        """Write results; what is not given has a value that is most ordinary."""
        rows = [self._filled(result) for result in results]
        values = self._encoder.encode(pa.RecordBatch.from_pylist(rows, schema=self._encoder.arrow))
        self.write(
            [
                Record(value, self.key(row), row["partition"])
                for row, value in zip(rows, values, strict=True)
            ]
        )

    def remove(self, *results: dict[str, Any]) -> None:
        """Write tombstones."""
        rows = [self._filled(result) for result in results]
        self.write([Record(None, self.key(row), row["partition"]) for row in rows])

    def write(self, records: Sequence[Record]) -> None:
        produce(self._settings.bootstrap, self._topic, records)

    @staticmethod
    def key(row: dict[str, Any]) -> bytes:
        day = "total" if row["day"] is None else row["day"]
        place = f"{row['funnel_id']}/{row['version']}/{day}/{row['partition']}"
        return f"{row['project_id']}/{place}".encode()

    def _filled(self, result: dict[str, Any]) -> dict[str, Any]:
        defaults = {
            "project_id": self._project,
            "funnel_id": "buy",
            "version": 1,
            "partition": 0,
            "day": None,
            "times": [],
            "entries": [],
            "breakdown": [],
            "late_dropped": 0,
            "position": 0,
            "updated_at": 1_000,
            "backfilling_to": None,
            "live_since": None,
            "failed": None,
        }
        return defaults | result


@pytest.fixture
def worker(place: Place) -> Worker:
    """The stand-in for the worker."""
    return Worker(place)
