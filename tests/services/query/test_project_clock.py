"""Answers carry the project's clock, and ClickHouse is asked as of that very moment."""

import datetime
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import msgspec
import pytest

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.clocks import SCHEMA, ClockChange, ProjectClocks, record_key
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, produce
from tests.services.query.conftest import eventually, ready, serve
from tests.warehouse import Event, Warehouse

DAY_MS: Final = 86_400_000
API: Final = "/api/projects/shop"
RECENT: Final = {"id": "recent", "rule": {"performed": {"event": "home", "within_s": 86_400}}}
LAPSED: Final = {"id": "lapsed", "rule": {"last_seen": {"not_within_s": 86_400}}}
VISITS: Final = {"id": "visits", "measure": "events"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Clocks:
    """Publishes offsets of clocks as workers do."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap, self._topic = settings.bootstrap, settings.topics.clocks.name
        schema = load(SCHEMA)
        with Registry(settings.bootstrap) as registry:
            schema_id = registry.register(value_subject(self._topic), schema)
        self._encoder = Encoder(schema, schema_id)

    def publish(self, project: str, partition: int, offset_ms: int) -> None:
        record = {
            "project_id": project,
            "partition": partition,
            "clock_offset_ms": offset_ms,
            "updated_at": now_ms(),
        }
        self.write(project, partition, self._encoder.encode_records([record])[0])

    def write(self, project: str, partition: int, value: bytes | None) -> None:
        record = Record(value, record_key(project, partition))
        produce(self._bootstrap, self._topic, [record])


@pytest.fixture
def clocks(settings: Settings) -> Clocks:
    return Clocks(settings)


@pytest.fixture
async def service(settings: Settings, warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A query service whose store has 20 persons of ten days ago on two partitions, and a new one.

    It has a segment of those within a day, one of all others, and a metric.
    """
    now = now_ms()
    warehouse.client.command(f"TRUNCATE TABLE {warehouse.settings.clickhouse_database}.events")
    warehouse.write(
        [Event("shop", f"p{n}", "home", now - 10 * DAY_MS, partition=n % 2) for n in range(20)]
    )
    warehouse.write([Event("shop", "new", "home", now)])
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    async with serve(with_store) as client:
        await ready(client)
        for plural, body in (("segments", RECENT), ("segments", LAPSED), ("metrics", VISITS)):
            assert (await client.post(f"{API}/{plural}", json=body)).status_code == 201
        yield client


async def asked(client: httpx.AsyncClient, path: str, offset_ms: int | None) -> dict[str, Any]:
    """Ask until the clock is known, and has this offset."""

    def is_known(answer: httpx.Response) -> bool:
        clock = answer.json()["clock"]
        return clock is not None and abs(ms_of(clock) - now_ms() - (offset_ms or 0)) < 30_000

    found: dict[str, Any] = (await eventually(lambda: client.get(f"{API}/{path}"), is_known)).json()
    return found


def ms_of(clock: str) -> float:
    return datetime.datetime.fromisoformat(clock).timestamp() * 1_000


async def test_clickhouse_is_asked_as_of_the_clock_of_the_project_whatever_partition_moved_it(
    service: httpx.AsyncClient, clocks: Clocks
) -> None:
    clocks.publish("shop", 1, -10 * DAY_MS - 60_000)
    clocks.publish("other", 0, 0)
    found = await asked(service, "segments/recent/results?source=store", -10 * DAY_MS - 60_000)
    assert found["persons"] == 21  # the new one is ahead of the clock, and counts
    clocks.publish("shop", 0, -1_000)
    found = await asked(service, "segments/recent/results?source=store", -1_000)
    assert found["persons"] == 1
    assert (await asked(service, "segments/lapsed/results?source=store", -1_000))["persons"] == 20
    members = await asked(service, "segments/recent/members?source=store", -1_000)
    assert members["persons"] == ["new"]
    overlap = await asked(service, "segments/recent/overlap?with=lapsed&source=store", -1_000)
    assert [one["persons"] for one in overlap["overlaps"]] == [1, 20, 0]


async def test_answers_of_the_stream_carry_the_clock_and_metrics_are_complete_up_to_it(
    service: httpx.AsyncClient, clocks: Clocks, settings: Settings
) -> None:
    clocks.publish("shop", 1, -5_000)
    for path in (
        "segments/recent/results",
        "segments/recent/members",
        "segments/recent/overlap?with=lapsed",
        "metrics/visits/results",
        "metrics/visits/results?source=store",
    ):
        found = await asked(service, path, -5_000)
        assert found["clock"].endswith("Z"), path
    clocks.publish("shop", 0, 0)
    found = await asked(service, "metrics/visits/results", 0)
    assert ms_of(found["clock"]) <= ms_of(found["as_of"])
    assert found["complete_until"] is None  # it is backfilling
    assert settings.allowed_lateness_s == 3_600


async def test_a_clock_that_is_not_known_is_the_time_of_day_for_clickhouse(
    service: httpx.AsyncClient, clocks: Clocks
) -> None:
    clocks.publish("other", 0, -DAY_MS)
    found = (await service.get(f"{API}/segments/recent/results")).json()
    assert found["clock"] is None
    found = await asked(service, "segments/recent/results?source=store", 0)
    assert found["persons"] == 1


async def test_an_unreadable_record_costs_itself_and_a_tombstone_ends_a_clock(
    service: httpx.AsyncClient, clocks: Clocks
) -> None:
    clocks.publish("shop", 0, -2_000)
    clocks.write("shop", 0, b"{}")
    clocks.write("shop", 1, b"\0\0\0\xff\xff\1")
    await asked(service, "segments/recent/results", -2_000)
    clocks.write("shop", 0, None)
    await eventually(
        lambda: service.get(f"{API}/segments/recent/results"),
        lambda answer: answer.json()["clock"] is None,
    )


def test_the_greatest_offset_of_the_partitions_is_that_of_the_project() -> None:
    clocks = ProjectClocks()
    assert clocks.at("shop", 9) is None
    clocks.apply([ClockChange("shop", 0, -500), ClockChange("shop", 1, -700)])
    assert clocks.at("shop", 1_000) == 500
    clocks.apply([ClockChange("shop", 1, -100), ClockChange("other", 0, 0)])
    clocks.apply([ClockChange("shop", 1, -700)])  # read again
    assert (clocks.offset_ms("shop"), clocks.offset_ms("other")) == (-100, 0)
    assert clocks.projects_of(1) == ["shop"]
    clocks.apply([ClockChange("shop", 1, None)])
    assert clocks.offset_ms("shop") == -500
    clocks.apply([ClockChange("shop", 0, None), ClockChange("shop", 0, None)])
    assert clocks.offset_ms("shop") is None
