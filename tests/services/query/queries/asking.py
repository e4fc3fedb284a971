"""Queries of a warehouse, answered as the query service answers them, at a time of the test's."""

import asyncio
import contextlib
import datetime
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from schemas.operators.segment import SegmentDefinition, decode_segment
from services.query.clickhouse.client import Store
from services.query.clickhouse.queries import EventStore
from services.query.queries import QUERIES
from services.query.queries.contract import QueryContext
from tests.oracles.events import Event
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse


def ms(text: str) -> int:
    """The instant of an ISO time with a zone, in ms."""
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1_000)


class EventStoreWithoutPersons(EventStore):
    """Answers as if the store kept no persons."""

    async def has_persons(self, project_id: str) -> bool:
        """Return that it keeps none."""
        return not project_id


class Asker:
    """Writes events into projects of their own, and asks queries of them."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._runner = asyncio.Runner()
        self._store = Store(warehouse.settings)
        # Without a log, as all queries have positions.
        self.events = EventStore(self._store, warehouse.settings.clickhouse_database)

    def write(self, events: Sequence[Event]) -> str:
        """Store events; returns their project."""
        project = uuid.uuid4().hex
        self.write_more(project, events)
        return project

    def write_more(self, project: str, events: Sequence[Event]) -> None:
        """Store events of a project, after those that it has."""
        self._warehouse.write(
            Row(project, one.person, one.event, one.at, one.text) for one in events
        )

    @contextlib.contextmanager
    def without_persons(self) -> Iterator[None]:
        """Answer from the events alone within the block, as over a store without persons."""
        kept = self.events
        store, database = self._store, self._warehouse.settings.clickhouse_database
        self.events = EventStoreWithoutPersons(store, database)
        try:
            yield
        finally:
            self.events = kept

    def ask(
        self,
        kind: str,
        project: str,
        body: Mapping[str, Any],
        now: int,
        segments: Mapping[str, Mapping[str, Any]] | None = None,
        lateness_ms: int = 0,
        positions: Mapping[int, int] | None = None,
    ) -> Any:
        """Answer a query, as JSON; segments are given by their rules."""
        (found,) = (one for one in QUERIES if one.spec.name == kind)
        query = found.spec.decode(json.dumps(dict(body)).encode())
        known = {name: _segment(project, name, rule) for name, rule in (segments or {}).items()}
        context = QueryContext(
            events=self.events,
            project_id=project,
            segments=known,
            now=now,
            clock=now,
            complete_until=now - lateness_ms,
            positions=self._positions(project) if positions is None else positions,
            project_segments=list(known.values()),
        )
        answer = self._runner.run(found.answer(context, query))
        return json.loads(msgspec.json.encode(answer))

    def _positions(self, project: str) -> dict[int, int]:
        rows = self.sql(
            "SELECT _partition, max(_offset) + 1 FROM {db}.events "
            "WHERE project_id = {project:String} GROUP BY _partition",
            project=project,
        )
        return {int(partition): int(offset) for partition, offset in rows}

    def sql(self, text: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement written by hand, with `{db}` for the database."""
        database = self._warehouse.settings.clickhouse_database
        answer = self._warehouse.client.query(text.replace("{db}", database), parameters=parameters)
        return [tuple(row) for row in answer.result_rows]

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._store.close())
        self._runner.close()


def _segment(project: str, name: str, rule: Mapping[str, Any]) -> SegmentDefinition:
    segment = decode_segment(json.dumps({"rule": dict(rule)}).encode())
    return SegmentDefinition(
        project_id=project,
        id=name,
        version=1,
        created_at=0,
        updated_at=0,
        segment=segment,
        rule=segment.rule,
    )


@pytest.fixture(scope="module")
def asker(warehouse: Warehouse) -> Iterator[Asker]:
    """One connection for the tests of a module."""
    made = Asker(warehouse)
    yield made
    made.close()
