"""Migrations can be run again and by several processes; those of a later version are refused."""

import contextlib
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import Settings
from sinks.clickhouse import ClickHouseSink
from sinks.migrations import MIGRATIONS, migrate
from sinks.predictions import PredictionsSink
from sinks.store import Store
from tests.sinks.events import batch, event
from tests.sinks.tables import query

# Of the statements of each migration that was released: a change is a further migration.
DIGESTS = {
    "events": "71c23eaac2561726",
    "predictions": "dee84769a6b90cca",
    "persons": "ca16415df9e399ab",
    "segments": "33804c2d4f586073",
    "result_history": "4ffb88b29ee3aa59",
}


class Stopping:
    """A database that refuses all statements after some."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._store = Store(settings)
        self._left = count

    def command(self, statement: str) -> Any:
        if not self._left:
            raise Unavailable("killed")
        self._left -= 1
        return self._store.command(statement)

    @property
    def is_stopped(self) -> bool:
        return not self._left

    def close(self) -> None:
        self._store.close()


def tables(settings: Settings) -> dict[str, str]:
    rows = query(
        settings,
        "SELECT name, create_table_query FROM system.tables "
        f"WHERE database = '{settings.clickhouse_database}'",
    )
    return {name: text for name, text in rows if not name.startswith(".inner")}


def applied(settings: Settings) -> list[tuple[Any, ...]]:
    return query(
        settings,
        f"SELECT version, name FROM {settings.clickhouse_database}.migrations FINAL "
        "ORDER BY version",
    )


def counts(settings: Settings) -> list[tuple[Any, ...]]:
    return query(
        settings,
        "SELECT person_id, events, toUnixTimestamp64Milli(last_seen) "
        f"FROM {settings.clickhouse_database}.persons ORDER BY person_id, project_id",
    )


def test_a_released_migration_does_not_change() -> None:
    digests = {
        one.name: hashlib.sha256("\0".join(one.statements("avila")).encode()).hexdigest()[:16]
        for one in MIGRATIONS
    }
    assert digests == DIGESTS


def test_all_migrations_are_recorded_and_running_them_again_changes_nothing(
    database: Settings,
) -> None:
    ClickHouseSink(database).setup()
    expected = [(one.version, one.name) for one in MIGRATIONS]
    assert applied(database) == expected
    before = tables(database)
    PredictionsSink(database).setup()
    assert tables(database) == before
    assert applied(database) == expected


def test_a_migration_that_was_killed_after_any_statement_is_completed_by_the_next_process(
    database: Settings,
) -> None:
    sink = ClickHouseSink(database)
    sink.setup()
    sink.write(batch([event(number) for number in range(50)]))
    expected, rows = tables(database), counts(database)
    name = database.clickhouse_database
    for stop in itertools.count(1):
        # A store of the version without migrations.
        for table in set(expected) - {"events", "predictions"}:
            query(database, f"DROP TABLE {name}.{table} SYNC")
        killed = Stopping(database, stop)
        with contextlib.suppress(Unavailable):
            migrate(killed, name)
        ended = not killed.is_stopped
        killed.close()
        sink.setup()
        assert tables(database).keys() == expected.keys()
        assert counts(database) == rows
        if ended:
            break
    sink.close()


def test_processes_that_migrate_at_the_same_time_make_the_same_tables(database: Settings) -> None:
    with ThreadPoolExecutor(4) as threads:
        sinks = [ClickHouseSink(database) for _ in range(4)]
        for done in [threads.submit(sink.setup) for sink in sinks]:
            done.result()
    sinks[0].write(batch([event(number) for number in range(50)]))
    assert [one[:2] for one in applied(database)] == [(m.version, m.name) for m in MIGRATIONS]
    assert sum(int(row[1]) for row in counts(database)) == 50


def test_a_store_of_a_later_version_is_refused_by_name(database: Settings) -> None:
    ClickHouseSink(database).setup()
    table = f"{database.clickhouse_database}.migrations"
    query(database, f"INSERT INTO {table} (version, name) VALUES (9001, 'wormholes')")
    with pytest.raises(Misconfigured, match=r"9001 \(wormholes\).*AVILA_CLICKHOUSE_DATABASE"):
        ClickHouseSink(database).setup()
