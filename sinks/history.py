"""The ClickHouse sink of results over time, in the table `result_history`.

A row is that of a key of a result topic and a minute; one with a higher offset replaces it. So a
minute costs one row a key, however often the figures change in it, and rows that are written again
change nothing. Without offsets in Kafka, the topic is read from its beginning. It is compacted, so
it has the newest record of each key.
"""

from typing import Final

from clickhouse_connect.driver.binding import quote_identifier

from schemas.settings import Settings
from sinks.base import Batch
from sinks.partitions import Assigned
from sinks.store import INSERT_SETTINGS, Store, arrow_stream, within_range

# How often rows are written. They are of minutes, and each write is a part of its own.
HISTORY_INTERVAL_MS: Final = 10_000

_INPUT: Final = {
    "project_id": "String",
    "kind": "String",
    "id": "String",
    "version": "Int32",
    "period": "String",
    "_partition": "UInt32",
    "at": "DateTime64(3, 'UTC')",
    "position": "Int64",
    "figures": "Map(String, Float64)",
    "_offset": "UInt64",
}
_SETTINGS: Final = INSERT_SETTINGS | {"insert_deduplicate": 0}


class HistorySink:
    """Writes to the ClickHouse of the settings; connects at first use."""

    repeatable: Final = True

    def __init__(self, settings: Settings) -> None:
        self._table = f"{quote_identifier(settings.clickhouse_database)}.result_history"
        self._days = settings.result_history_days
        self._store = Store(settings)

    def setup(self) -> None:
        """Create the table, and let it keep rows for as long as the settings say."""
        self._store.migrate()
        self._store.define(
            f"ALTER TABLE {self._table} MODIFY TTL minute + toIntervalDay({self._days})",
            # Parts that exist are changed when they are merged, not all at once.
            settings={"materialize_ttl_after_modify": 0},
        )

    def write(self, batch: Batch) -> None:
        """Insert the batch."""
        names = ", ".join(_INPUT)
        inputs = ", ".join(f"{name} {kind}" for name, kind in _INPUT.items()).replace("'", "\\'")
        self._store.command(
            f"INSERT INTO {self._table} ({names}, minute) "  # noqa: S608 (made of constants)
            f"SELECT {names}, toStartOfMinute(at) FROM input('{inputs}') "
            f"WHERE {self._store.in_time(batch.planned_at_s)} FORMAT ArrowStream",
            data=arrow_stream([within_range(batch.rows, ("at",))]),
            settings=_SETTINGS,
        )

    def begin(self, assigned: Assigned) -> int:
        """Return the committed offset, or else 0."""
        return max(0, assigned.committed)

    def close(self) -> None:
        """Close the connection; rows that were written are not affected."""
        self._store.close()
