"""The migrations of AvilaDB: each makes one version of the tables from the version before.

A migration is a file `<version>_<name>.sql` beside this one. Each of its statements gives the same
result however often it runs, and by however many processes at once: it creates what does not exist
(`IF NOT EXISTS`), or derives rows whose repetition changes nothing. So there is no lock, and the
next process completes what a killed one has left. The table `migrations` lists the versions that
were applied. A released file never changes; a later one changes the tables.

In a statement, `{database}` stands for the database, and other names in braces for parts of SQL. A
statement with `{month}` runs once for each calendar month of `events`, such as 202511.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import structlog
from clickhouse_connect.driver.binding import quote_identifier

from schemas.errors import Misconfigured
from sinks.cluster import on_cluster
from sinks.persons import AGGREGATES, fold_sql

log = structlog.get_logger(__name__)

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_MONTH: Final = "{month}"
# Parts of statements that other modules have, too.
_PARTS: Final = {
    "{person_fold}": fold_sql("{database}.events"),
    "{person_fold_of_month}": fold_sql(f"{{database}}.events WHERE toYYYYMM(timestamp) = {_MONTH}"),
    "{person_aggregates}": ", ".join(AGGREGATES),
}


class Migration(NamedTuple):
    """The step to a version of the tables."""

    version: int
    name: str
    text: str

    def statements(self, database: str) -> Iterator[str]:
        """Yield the statements for a database, in order."""
        text = self.text
        for name, part in _PARTS.items():
            text = text.replace(name, part)
        text = text.replace("{database}", quote_identifier(database))
        yield from text.strip().removesuffix(";").split(";\n")


class Database(Protocol):
    """What runs statements; blocks."""

    def command(self, statement: str) -> Any:
        """Run a statement and return its result, which has any type.

        Raises:
            Unavailable: it is not known whether it was executed.
        """


def read_migrations(directory: Path = Path(__file__).parent) -> list[Migration]:
    """Return all migrations, by version; they are numbered from 1 without a gap."""
    found = []
    for file in sorted(directory.glob("*.sql")):
        match = _FILE.fullmatch(file.name)
        assert match is not None, f"{file} is not named <version>_<name>.sql"
        found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    assert [one.version for one in found] == list(range(1, len(found) + 1))
    return found


MIGRATIONS: Final = read_migrations()


def migrate(store: Database, database: str, cluster: str = "") -> None:
    """Make the tables of a database those of this version; may block for minutes.

    With the name of a cluster they are made on all of its servers (`sinks.cluster`).
    Any number of processes may call it at the same time, and again.

    Raises:
        Misconfigured: a later version of Avila has migrated the database.
        Unavailable: a statement may not have been executed; call it again.
    """
    table = f"{quote_identifier(database)}.migrations"

    def run(statement: str) -> None:
        for one in spread(statement, database, cluster):
            store.command(one)

    run(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(database)}")
    run(
        f"CREATE TABLE IF NOT EXISTS {table} "
        "(version UInt32, name String, applied_at DateTime DEFAULT now()) "
        "ENGINE = ReplacingMergeTree ORDER BY version"
    )
    applied = _applied(store, table)
    _refuse_later(applied, database)
    for migration in MIGRATIONS:
        if migration.version in applied:
            continue
        log.info("migrating the store", version=migration.version, name=migration.name)
        for statement in migration.statements(database):
            for one in _of_months(store, statement, database):
                run(one)
        store.command(
            f"INSERT INTO {table} (version, name) "  # noqa: S608 (ours: a number and a word)
            f"VALUES ({migration.version}, '{migration.name}')"
        )


def spread(statement: str, database: str, cluster: str) -> list[str]:
    """Return the statements that do the same on a cluster; without one, the statement itself."""
    if not cluster:
        return [statement]
    return on_cluster(statement, quote_identifier(database), quote_identifier(cluster))


def _applied(store: Database, table: str) -> dict[int, str]:
    """Return the names of the applied migrations, by version."""
    text = _text(
        store,
        f"SELECT arrayStringConcat(groupUniqArray(concat(toString(version), ' ', name)), ',') "  # noqa: S608 (ours)
        f"FROM {table}",
    )
    pairs = (line.split(" ", 1) for line in filter(None, text.split(",")))
    return {int(version): name for version, name in pairs}


def _refuse_later(applied: dict[int, str], database: str) -> None:
    newest = max(applied, default=0)
    if newest > len(MIGRATIONS):
        raise Misconfigured(
            f"a later version of Avila has migrated the database {database!r}: it has the "
            f"migration {newest} ({applied[newest]}), and this version knows those up to "
            f"{len(MIGRATIONS)} ({MIGRATIONS[-1].name}). Run that version, or set "
            "AVILA_CLICKHOUSE_DATABASE to another database"
        )


def _of_months(store: Database, statement: str, database: str) -> Iterator[str]:
    """Yield a statement as it is, or once for each month of `events`."""
    if _MONTH not in statement:
        yield statement
        return
    months = _text(
        store,
        "SELECT arrayStringConcat(arraySort(groupUniqArray(toString(toYYYYMM(timestamp)))), ',') "  # noqa: S608 (quoted)
        f"FROM {quote_identifier(database)}.events",
    )
    for month in filter(None, months.split(",")):
        yield statement.replace(_MONTH, month)


def _text(store: Database, query: str) -> str:
    """Return the only value of a query. The client turns a text of digits into a number.

    If it is empty, the client returns a summary instead.
    """
    value = store.command(query)
    return str(value) if isinstance(value, str | int) else ""
