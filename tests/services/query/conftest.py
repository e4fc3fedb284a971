"""The query service in the test's own process, and what stands in for the worker."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.operators.funnel import FUNNEL
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.query import make_query_app
from tests.conftest import free_ports
from tests.credentials import TOKEN, bearer, put, query_token
from tests.kafka import Record, produce

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
    deadline = time.monotonic() + DEADLINE_S
    while not is_right(answer := await ask()):
        assert time.monotonic() < deadline, answer.text
        # An answer from memory never gives way to what it waits for on this loop.
        await asyncio.sleep(0.02)
    return answer


async def ready(client: httpx.AsyncClient, *parts: str) -> None:
    """Wait until the parts named are ready (all views, if none are)."""

    def is_ready(answer: httpx.Response) -> bool:
        checks = answer.json()["checks"]
        awaited = parts or [part for part in checks if part.startswith("view ")]
        return all(checks[part] == "ok" for part in awaited)

    await eventually(lambda: client.get("/readyz"), is_ready)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The test's own deployment, which knows `TOKEN`, and whose store is away."""
    put(settings, query_token())
    (port,) = free_ports(1)
    return msgspec.structs.replace(settings, clickhouse_dsn=f"http://127.0.0.1:{port}")


@pytest.fixture
async def query(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a query service whose views are ready."""
    async with serve(settings) as client:
        await ready(client)
        yield client


class Worker:
    """Publishes results as the worker does: keys, wire format, partitions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = FUNNEL.aggregates.topic(settings.topics).name
        schema = load("funnel-result")
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(value_subject(self._topic), schema)
        self._encoder = Encoder(schema, schema_id)

    def publish(self, *results: dict[str, Any]) -> None:
        """Write results; what is not given has a value that is most ordinary."""
        rows = [_filled(result) for result in results]
        values = self._encoder.encode(pa.RecordBatch.from_pylist(rows, schema=self._encoder.arrow))
        self.write(
            [
                Record(value, self.key(row), row["partition"])
                for row, value in zip(rows, values, strict=True)
            ]
        )

    def remove(self, *results: dict[str, Any]) -> None:
        """Write tombstones."""
        rows = [_filled(result) for result in results]
        self.write([Record(None, self.key(row), row["partition"]) for row in rows])

    def write(self, records: Sequence[Record]) -> None:
        produce(self._settings.bootstrap, self._topic, records)

    @staticmethod
    def key(row: dict[str, Any]) -> bytes:
        day = "total" if row["day"] is None else row["day"]
        place = f"{row['funnel_id']}/{row['version']}/{day}/{row['partition']}"
        return f"{row['project_id']}/{place}".encode()


def _filled(result: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        "project_id": "shop",
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
def worker(settings: Settings) -> Worker:
    """The stand-in for the worker."""
    return Worker(settings)
