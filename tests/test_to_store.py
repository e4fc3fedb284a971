"""The vendors' clients at one end, ClickHouse at the other, and all that is between."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import posthog
import pytest
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from schemas.avro.files import load
from schemas.registry.log import Registry
from schemas.settings import Settings
from tests.clients.conftest import losing_one_answer, node_modules
from tests.clients.test_node import send
from tests.clients.test_python import PAID_AT, clients
from tests.conftest import HELD_PARTITIONS
from tests.credentials import put_keys
from tests.services.ingest.conftest import Ingest, serving
from tests.sinks.conftest import in_store
from tests.sinks.processes import SinkProcess
from tests.sinks.tables import assert_each_event_once, await_rows, count, query
from tests.stores import StoreProcess, store
from tests.workers import WorkerProcess

__all__ = ["node_modules", "store"]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def edge(settings: Settings, store: StoreProcess, tmp_path: Path) -> Iterator[Ingest]:
    """An ingest service, and behind it a worker, a sink and a store."""
    settings = in_store(settings, store)
    put_keys(settings)
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(Registry(settings.bootstrap))
        schema_id = registry.register(f"{settings.topics.inbox.name}-value", load("event"))
        worker = stack.enter_context(WorkerProcess(settings))
        stack.enter_context(SinkProcess(settings, tmp_path / "sink.log"))
        worker.await_partitions(HELD_PARTITIONS)
        yield stack.enter_context(serving(settings, schema_id=schema_id))


def test_what_clients_send_and_send_again_is_in_the_store_once(
    edge: Ingest, node_modules: Path
) -> None:
    senders: list[Callable[[str], None]] = [
        by_posthog,
        *(lambda url, kind=kind: by_track(url, kind) for kind in (Segment, RudderStack)),
        *(
            lambda url, client=client: send(node_modules, client, url)
            for client in ("posthog", "segment")
        ),
    ]
    for sender in senders:
        with losing_one_answer(edge.port) as url:
            sender(url)
    sent = [event["event_id"] for event in edge.inbox()]
    assert len(sent) >= len(set(sent)) + len(senders)  # each sent something again

    await_rows(edge.settings, len(set(sent)))
    assert_each_event_once(edge.settings)
    assert count(edge.settings) == len(set(sent))
    # RudderStack's client has Segment's name; both Node clients give their payment the same id.
    assert sorted(paid(edge.settings)) == [
        ("analytics-python", "u1"),
        ("analytics-python", "u1"),
        ("posthog-node", "u1"),
        ("posthog-python", "u1"),
    ]


def by_posthog(url: str) -> None:
    with clients(url) as make:
        make(posthog.Posthog).capture(
            "a paid", distinct_id="u1", properties={"für": 12.5}, timestamp=PAID_AT
        )


def by_track(url: str, kind: Any) -> None:
    with clients(url) as make:
        make(kind).track("u1", "a paid", {"für": 12.5}, timestamp=PAID_AT)


def paid(settings: Settings) -> list[tuple[Any, ...]]:
    """Library and person of the payments with the right time and price.

    A time is what the client said, and as much later as the event was on its way.
    """
    return query(
        settings,
        "SELECT JSONExtractString(toString(context), 'library', 'name'), person_id "
        f"FROM {settings.clickhouse_database}.events WHERE event = 'a paid' "
        "AND timestamp BETWEEN '2026-03-01 12:00:00.250' AND '2026-03-01 12:01:00' "
        "AND properties.`für` = 12.5",
    )
