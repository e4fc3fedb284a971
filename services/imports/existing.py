"""Which events the store has already, so that a repeated file counts once however late it comes."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from schemas.errors import Unavailable
from schemas.settings import Settings
from services.ingest.events import Row
from sinks.connection import connect

_TIMEOUT_S: Final = 120
_AT_ONCE: Final = 4_000  # ids in a statement, which may have 256 KiB
_NO_TABLE: Final = {60, 81}  # the store has no events yet


class Identity(NamedTuple):
    """What makes an event unique within its project."""

    distinct_id: str
    event_id: str


def identity(row: Row) -> Identity:
    """Return the identity of an event."""
    return Identity(row.distinct_id, row.event_id)


def without_existing(settings: Settings, project: str, rows: Sequence[Row]) -> list[Row]:
    """Return the events that the store does not have, each identity once. Blocks on the network.

    `rows` must be in the order of their times.

    Raises:
        Unavailable: the store does not answer.
    """
    with closing(connect(settings, timeout_s=_TIMEOUT_S, name="avila-import")) as client:
        fresh: list[Row] = []
        for begin in range(0, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE]
            known = _find(client, settings.clickhouse_database, project, part)
            fresh += [row for row in part if identity(row) not in known]
    return unique(fresh)


def unique(rows: Sequence[Row]) -> list[Row]:
    """Return each event once, the first of its identity."""
    seen: dict[Identity, Row] = {}
    for row in rows:
        seen.setdefault(identity(row), row)
    return list(seen.values())


def _find(client: Client, database: str, project: str, rows: Sequence[Row]) -> set[Identity]:
    # Ids are UUIDs that were made here, so they need no binding. With the times, the store reads
    # only the parts that may have them.
    ids = ",".join(f"'{row.event_id}'" for row in rows)
    statement = " ".join(
        (
            "SELECT distinct_id, toString(event_id) FROM",
            f"{quote_identifier(database)}.events",
            "WHERE project_id = {project:String}",
            "AND timestamp >= fromUnixTimestamp64Milli({first:Int64}, 'UTC')",
            "AND timestamp <= fromUnixTimestamp64Milli({last:Int64}, 'UTC')",
            f"AND event_id IN ({ids})",
        )
    )
    parameters: dict[str, Any] = {
        "project": project,
        "first": rows[0].timestamp,
        "last": rows[-1].timestamp,
    }
    try:
        found = client.query(statement, parameters=parameters)
    except DatabaseError as error:
        if error.code in _NO_TABLE:
            return set()
        raise Unavailable(f"the store cannot say which events it has: {error}") from error
    except (ClickHouseError, OSError) as error:
        raise Unavailable(f"the store does not answer: {error!r}") from error
    return {Identity(*row) for row in found.result_rows}
