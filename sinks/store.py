"""What the sinks of ClickHouse share: statements, deadlines by the store's own clock, and rows.

A process that was stopped may send an insert hours after it decided to. Every insert therefore has
a deadline by the store's clock (`Store.in_time`), after which the store refuses it.
"""

import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError

from schemas.errors import Unavailable
from schemas.settings import Settings
from sinks import cluster
from sinks.base import boot_clock_s
from sinks.connection import connect
from sinks.migrations import migrate, spread

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# The time from knowing that nobody has written a batch to the arrival of its insert.
WRITE_TIMEOUT_S: Final = 120
_RUN_TIMEOUT_S: Final = 120
MIGRATE_TIMEOUT_S: Final = 4 * 3_600
_CLOCK_MAX_AGE_S: Final = 60

# One block a statement, written before the response. A setting has a value of any type.
INSERT_SETTINGS: Final[dict[str, Any]] = {
    **cluster.INSERT_SETTINGS,
    "async_insert": 0,
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_execution_time": _RUN_TIMEOUT_S,
}

# The range of DateTime64.
_FIRST_MS: Final = int(np.datetime64("1900-01-01", "ms").astype(np.int64))
_LAST_MS: Final = int(np.datetime64("2299-12-31T23:59:59.999", "ms").astype(np.int64))


class Store:
    """The ClickHouse of the settings; connects at first use. For one thread; calls block."""

    def __init__(self, settings: Settings, *, timeout_s: int = _RUN_TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._clock_ahead_s = 0.0
        self._clock_read_at_s = -float(_CLOCK_MAX_AGE_S)

    def migrate(self) -> None:
        """Make the tables of the database those of this version; may block for minutes.

        Raises:
            Misconfigured: a later version of Avila has migrated the database.
            Unavailable: try again.
        """
        own = Store(self._settings, timeout_s=MIGRATE_TIMEOUT_S)
        with contextlib.closing(own):
            migrate(own, self._settings.clickhouse_database, self._settings.clickhouse_cluster)

    def define(self, statement: str, **arguments: Any) -> None:
        """Run a statement that changes a table, on all servers of a cluster; as `command` does."""
        settings = self._settings
        for one in spread(statement, settings.clickhouse_database, settings.clickhouse_cluster):
            self.command(one, **arguments)

    def command(self, statement: str, **arguments: Any) -> Any:
        """Run a statement; the arguments are those of the client's `command`.

        Raises:
            Unavailable: it is not known whether it was executed.
        """
        try:
            if self._client is None:
                self._client = connect(
                    self._settings, timeout_s=self._timeout_s + 5, name="avila-sink"
                )
            return self._client.command(statement, **arguments)
        except ProgrammingError:
            raise
        except DatabaseError as error:
            self._clock_read_at_s = -float(_CLOCK_MAX_AGE_S)
            raise Unavailable(f"ClickHouse did not execute the statement: {error}") from error

    def in_time(self, since_s: float) -> str:
        """Return a condition that refuses an insert long after a time of `boot_clock_s`.

        Raises:
            Unavailable: the store's clock cannot be read.
        """
        self._read_clock()
        until_ms = int((since_s + WRITE_TIMEOUT_S + self._clock_ahead_s) * 1_000)
        return (
            f"throwIf(now64(3) > fromUnixTimestamp64Milli({until_ms}), 'too late: look first') = 0"
        )

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _read_clock(self) -> None:
        """Measure the difference between the store's clock and `boot_clock_s`."""
        if boot_clock_s() - self._clock_read_at_s < _CLOCK_MAX_AGE_S:
            return
        now_ms = int(self.command("SELECT toUnixTimestamp64Milli(now64(3))"))
        # Read after the response, so that deadlines are never late (but early by its way back).
        self._clock_read_at_s = boot_clock_s()
        self._clock_ahead_s = now_ms / 1_000 - self._clock_read_at_s


def arrow_stream(parts: Sequence[pa.RecordBatch]) -> bytes:
    """Return rows as one block."""
    rows = pa.Table.from_batches(parts).combine_chunks()
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema) as stream:
        stream.write_table(rows)
    return out.getvalue().to_pybytes()


def within_range(rows: pa.RecordBatch, times: Collection[str]) -> pa.RecordBatch:
    """Return rows with the columns `times` moved into the range of DateTime64."""
    for name in times:
        place = rows.schema.get_field_index(name)
        column = rows.column(place).view(pa.int64())
        known = column.fill_null(0).to_numpy()
        if known.min(initial=0) < _FIRST_MS or known.max(initial=0) > _LAST_MS:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            clipped = pa.array(np.clip(known, _FIRST_MS, _LAST_MS), pa.int64(), mask=missing)
            field = rows.schema.field(place)
            rows = rows.set_column(place, field, clipped.view(field.type))
    return rows
