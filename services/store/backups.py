"""Copies of the store's tables in a directory, and the way back.

A backup is ClickHouse's own: the table definitions and the data parts, as they are at one moment.
"""

from pathlib import Path
from typing import Final

from schemas.errors import Conflict, InvalidRequest, Misconfigured
from schemas.settings import Settings
from services.store.engine import Engine
from services.store.errors import StoreError

# What ClickHouse writes into each backup.
_METADATA: Final = ".backup"
_BUSY: Final = "is in use by another process"
# Tables whose rows are not counted: they are derived from others, or of the database itself.
_DERIVED: Final = "('migrations', 'person_states')"
# The migration that derives the persons.
_PERSONS: Final = "persons"


def back_up(engine: Engine, directory: Path, database: str) -> int:
    """Copy the tables of a database into a new directory; return how many rows they have.

    Inserts and queries go on meanwhile. Blocks, for minutes if there is much.

    Raises:
        InvalidRequest: the directory exists and is not empty, or cannot be written.
        Conflict: there is no such database.
    """
    _check_new(directory)
    rows = _count(engine, database)
    if rows is None:
        raise Conflict(f"the store has no database {database}: there is nothing to back up")
    if directory.exists():
        directory.rmdir()  # it is empty, and ClickHouse makes its own
    _run(engine, f"BACKUP DATABASE {_name(database)} TO File({_literal(directory)})")
    return rows


def restore(engine: Engine, directory: Path, database: str) -> int:
    """Create a database from its backup; return how many rows its tables have.

    The database must not be there, or be empty. Nothing may use it meanwhile. Blocks, as above.

    Raises:
        InvalidRequest: the directory has no backup of this database.
        Conflict: the database has rows.
    """
    if not (directory / _METADATA).is_file():
        raise InvalidRequest(f"{directory} has no backup")
    if _count(engine, database):
        raise Conflict(
            f"the database {database} has rows: restore into another AVILA_DATA_DIR, or another "
            "AVILA_CLICKHOUSE_DATABASE"
        )
    _run(engine, f"DROP DATABASE IF EXISTS {_name(database)} SYNC")
    _run(engine, f"RESTORE DATABASE {_name(database)} FROM File({_literal(directory)})")
    _let_derive_again(engine, database)
    return _count(engine, database) or 0


def open_engine(settings: Settings) -> Engine | None:
    """Return the engine of a store that does not run; None if it runs.

    Raises:
        Misconfigured: the store's directory cannot be used.
    """
    engine = Engine(settings.data_dir / "store", handles=1, waiting=0)
    try:
        engine.open()
    except Misconfigured as error:
        if _BUSY in str(error):
            return None
        raise
    return engine


def _count(engine: Engine, database: str) -> int | None:
    """Return how many rows were written to the tables of a database; None if it is not there."""
    known = f"name = {_literal(database)}"
    found = _run(engine, f"SELECT count() FROM system.databases WHERE {known}")  # noqa: S608 (quoted)
    if found.strip() == "0":
        return None
    rows = _run(
        engine,
        f"SELECT sum(total_rows) FROM system.tables WHERE database = {_literal(database)} "  # noqa: S608 (quoted)
        f"AND total_rows IS NOT NULL AND name NOT IN {_DERIVED}",
    )
    return int(rows)


def _let_derive_again(engine: Engine, database: str) -> None:
    """Let the sink derive persons again: their table may be some inserts older than the events'."""
    named = f"database = {_literal(database)} AND name = 'migrations'"
    if _run(engine, f"SELECT count() FROM system.tables WHERE {named}").strip() != "0":  # noqa: S608 (quoted)
        _run(engine, f"DROP VIEW IF EXISTS {_name(database)}.{_PERSONS}")
        _run(
            engine,
            f"ALTER TABLE {_name(database)}.migrations DELETE WHERE name = {_literal(_PERSONS)} "
            "SETTINGS mutations_sync = 2",
        )


def _run(engine: Engine, statement: str) -> str:
    try:
        return engine.run_own(statement)
    except StoreError as error:
        raise InvalidRequest(f"the store says: {error}") from error


def _check_new(directory: Path) -> None:
    if not directory.is_absolute():
        raise InvalidRequest(f"{directory} is no absolute path")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InvalidRequest(f"{directory} exists and is not empty: name a new directory")


def _literal(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _name(value: str) -> str:
    return "`" + value.replace("\\", "\\\\").replace("`", "\\`") + "`"
