"""A ClickHouse sink of a compacted topic: the newest record of each key, in one table.

A row is replaced by the one of its key with a higher offset (ReplacingMergeTree), so writing a row
again, or an older one after a newer one, changes nothing: what readers see is each record once, and
nothing that was replaced or deleted. A tombstone is a row, too, which hides the others.

The topic is compacted, and Kafka drops a tombstone a day after it was compacted. A sink that was
away for longer may never see it. So if the newest row of a partition was written long ago, or is
not on the topic at all, the rows of the partition are deleted and the topic is read from its
beginning. The table is then without them for as long as that takes.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import structlog
from clickhouse_connect.driver.binding import quote_identifier

from schemas.settings import Settings
from sinks.base import Batch
from sinks.partitions import Assigned
from sinks.store import INSERT_SETTINGS, Store, arrow_stream, within_range

log = structlog.get_logger(__name__)

# Half the time for which Kafka keeps tombstones by default (`delete.retention.ms`).
MAX_AWAY_S: Final = 12 * 3_600

# The position of a record on its topic, and whether it deletes.
PLACE_COLUMNS: Final = {"_partition": "UInt32", "_offset": "UInt64", "_deleted": "UInt8"}
_SETTINGS: Final = INSERT_SETTINGS | {
    # A cluster would else ignore rows that were written before and deleted since.
    "insert_deduplicate": 0,
}


class LatestTable(NamedTuple):
    """A table of the newest records: its columns with their types, and those that are times."""

    name: str
    columns: Mapping[str, str]
    times: tuple[str, ...] = ()


class LatestSink:
    """Writes to a table in the ClickHouse of the settings; connects at first use."""

    repeatable: Final = True

    def __init__(self, settings: Settings, table: LatestTable) -> None:
        self._settings = settings
        self._times = table.times
        self._table = f"{quote_identifier(settings.clickhouse_database)}.{table.name}"
        self._insert = _insert_text(self._table, {**table.columns, **PLACE_COLUMNS})
        self._store = Store(settings)

    def setup(self) -> None:
        """Create the database, and make its tables those of this version."""
        self._store.migrate()

    def write(self, batch: Batch) -> None:
        """Insert the batch as one part."""
        self._store.command(
            f"{self._insert} WHERE {self._store.in_time(batch.planned_at_s)} FORMAT ArrowStream",
            data=arrow_stream([within_range(batch.rows, self._times)]),
            settings=_SETTINGS,
        )

    def begin(self, assigned: Assigned) -> int:
        """Return the offset to read from, after deleting rows that are no longer to be trusted.

        Uses a connection of its own, so that any thread may call it.

        Raises:
            Unavailable: try again later.
        """
        own = Store(self._settings)
        try:
            newest, age_s = self._newest(own, assigned.partition)
            if 0 <= newest < assigned.end and age_s < MAX_AWAY_S:
                return max(0, assigned.committed)
            if newest >= 0:
                log.warning(
                    "writing the rows of a partition from the beginning",
                    table=self._table,
                    partition=assigned.partition,
                    newest_offset=newest,
                    written_s_ago=age_s,
                )
                own.define(
                    f"ALTER TABLE {self._table} DELETE WHERE _partition = {assigned.partition}",
                    settings={"mutations_sync": 2},
                )
            return 0
        finally:
            own.close()

    def close(self) -> None:
        """Close the connection; rows that were written are not affected."""
        self._store.close()

    def _newest(self, store: Store, partition: int) -> tuple[int, int]:
        """Return the highest offset of a partition, and the age of its newest row; -1 without."""
        answer = store.command(
            "SELECT if(count() = 0, -1, toInt64(max(_offset))), "  # noqa: S608 - a number and our name
            "if(count() = 0, 0, dateDiff('second', max(_written_at), now())) "
            f"FROM {self._table} WHERE _partition = {partition} FORMAT TSV",
            settings={"select_sequential_consistency": 1},
        )
        newest, age_s = map(int, answer)
        return newest, age_s


def _insert_text(table: str, columns: Mapping[str, str]) -> str:
    names = ", ".join(columns)
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    inputs = typed.replace("'", "\\'")
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM input('{inputs}')"  # noqa: S608 - made of constants
