"""The rows in AvilaDB, and the records of the event store to compare them with."""

import contextlib
import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import fastavro

from schemas.avro.files import load
from schemas.errors import Unavailable
from schemas.settings import Settings
from sinks.connection import connect
from tests.kafka import read_all

TIMEOUT_S: Final = 300.0
# The position and identity of an event.
Place = tuple[int, int, str, str, int]


def query(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of `statement`, over a new connection."""
    with contextlib.closing(connect(settings, timeout_s=60, name="tests")) as client:
        if statement.startswith(("SELECT", "WITH")):
            return [tuple(row) for row in client.query(statement).result_rows]
        client.command(statement)
        return []


def count(settings: Settings) -> int:
    """Return the number of rows; 0 while there is no table or no store."""
    try:
        ((rows,),) = query(settings, f"SELECT count() FROM {settings.clickhouse_database}.events")
    except (Unavailable, Exception):  # noqa: BLE001 - the store is away in some tests
        return 0
    return int(rows)


def rows_in_store(settings: Settings) -> Counter[Place]:
    """Return every row of the table with its count."""
    return Counter(
        (int(partition), int(offset), str(uuid.UUID(str(event_id))), str(person), int(time_ms))
        for partition, offset, event_id, person, time_ms in query(
            settings,
            "SELECT _partition, _offset, event_id, person_id, toUnixTimestamp64Milli(timestamp) "
            f"FROM {settings.clickhouse_database}.events",
        )
    )


def records_on_topic(settings: Settings) -> Counter[Place]:
    """Return every committed event of the event store, read without code of the sink."""
    schema = fastavro.parse_schema(json.loads(load("event").plain_text))
    found: Counter[Place] = Counter()
    for message in read_all(settings.bootstrap, settings.topics.events.name):
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert value is not None
        assert partition is not None
        assert offset is not None
        event = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        assert isinstance(event, dict)
        found[
            (
                partition,
                offset,
                str(event["event_id"]),
                str(event["person_id"]),
                int(str(event["timestamp"])),
            )
        ] += 1
    return found


def await_rows(
    settings: Settings,
    rows: int,
    timeout_s: float = TIMEOUT_S,
    or_else: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until the table has at least `rows` rows, or `or_else` returns true."""
    deadline = time.monotonic() + timeout_s
    while (there := count(settings)) < rows and not or_else():
        assert time.monotonic() < deadline, f"{there} of {rows} rows after {timeout_s} s"
        time.sleep(0.1)


def assert_each_event_once(settings: Settings) -> None:
    """Wait until everything is delivered, then compare all rows with all records."""
    expected = records_on_topic(settings)
    await_rows(settings, sum(expected.values()))
    assert rows_in_store(settings) == expected
    ((rows, places),) = query(
        settings,
        "SELECT count(), uniqExact(_partition, _offset) "
        f"FROM {settings.clickhouse_database}.events",
    )
    assert rows == places == len(expected)
