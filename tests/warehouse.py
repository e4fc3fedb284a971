"""A database of events in the store, filled as the sink fills it."""

import itertools
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from schemas.settings import Settings, read_settings
from services.query.clickhouse.client import NOT_COMPILED
from services.query.clickhouse.events import Statement
from sinks.base import Batch, boot_clock_s
from sinks.clickhouse import ClickHouseSink
from sinks.connection import connect
from sinks.rows import ROWS
from tests.stores import StoreProcess


class Event(NamedTuple):
    """What tests care about of an event."""

    project: str
    person: str
    event: str
    at_ms: int
    properties: str = "{}"
    partition: int = 0
    offset: int | None = None  # the next one of the warehouse unless it is given


class Warehouse:
    """AvilaDB with a name of its own; `write` as often as need be."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = connect(settings, timeout_s=60, name="tests")
        self._sink = ClickHouseSink(settings)
        self._sink.setup()
        self._offsets = itertools.count()

    def write(self, events: Iterable[Event]) -> list[int]:
        """Write `events` through the real sink; returns the offsets that they have."""
        rows = pa.RecordBatch.from_pylist([self._row(event) for event in events], schema=ROWS)
        if not rows.num_rows:
            return []
        first, last = (int(rows.column("_offset")[at].as_py()) for at in (0, -1))
        # Planned later than now: a busy machine must not make the insert come too late.
        planned_at_s = boot_clock_s() + 600
        self._sink.write(
            Batch("events", 0, first, last, 0, rows, planned_at_s=planned_at_s, again=False)
        )
        return [int(offset) for offset in rows.column("_offset").to_numpy()]

    def ask(self, statement: Statement) -> list[Any]:
        """Return the columns of the answer, as the query service would have them."""
        answer = self.client.query(
            statement.text,
            parameters=statement.parameters,
            settings={"readonly": 1, **NOT_COMPILED},
        )
        return list(answer.result_columns) or [[] for _ in answer.column_names]

    def drop(self) -> None:
        """Remove the database."""
        self._sink.close()
        self.client.command(f"DROP DATABASE {self.settings.clickhouse_database} SYNC")
        self.client.close()

    def _row(self, event: Event) -> dict[str, Any]:
        return {
            "event_id": str(uuid.uuid4()),
            "project_id": event.project,
            "distinct_id": event.person,
            "person_id": event.person,
            "anonymous_id": None,
            "session_id": None,
            "event": event.event,
            "timestamp": event.at_ms,
            "sent_at": None,
            "received_at": event.at_ms,
            "properties": event.properties,
            "context": "{}",
            "_partition": event.partition,
            "_offset": next(self._offsets) if event.offset is None else event.offset,
        }


@pytest.fixture(scope="module")
def warehouse(store: StoreProcess) -> Iterator[Warehouse]:
    """An empty database for the tests of one module."""
    settings = read_settings(
        {},
        clickhouse_dsn=store.dsn,
        clickhouse_database=f"test_{uuid.uuid4().hex}",
        data_dir=Path("unused"),
    )
    warehouse = Warehouse(settings)
    try:
        yield warehouse
    finally:
        warehouse.drop()
