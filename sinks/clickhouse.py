"""The ClickHouse sink: writes the table `events` over HTTP, each event once.

A batch becomes one part per calendar month, which exists completely or not at all. A month with
many rows has an INSERT of its own; months with few are written together, because an INSERT costs
far more than a part. The deduplication token is made of the chunk and the first month alone.
ClickHouse applies it to each part, and ignores a part with a known token. In addition:

- ClickHouse keeps only the latest tokens, and a process that was stopped after its plan was
  persisted may send its insert hours later. Every statement therefore has a deadline by the store's
  own clock, after which the store refuses it: tokens are kept for longer than inserts can be late.
- A store that is killed can have the part without its token, or (in older versions) the token
  without the part. A process that may not be the first to write a batch therefore looks for its
  last row before the insert and after it, and uses another token if the row is missing then. It
  also derives again what is kept of the persons of these events (`sinks.persons`).
- ClickHouse silently ignores other rows with the same token. The token therefore has the chunk's
  checksum.

No row can make an INSERT fail: properties that ClickHouse's JSON type refuses are stored as text in
`_properties`, an event id that is not a UUID becomes the UUID of its hash, and a time out of the
range of DateTime64 becomes the nearest in it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier

from schemas.errors import Unavailable
from schemas.settings import Settings
from sinks.base import Batch, Row, boot_clock_s
from sinks.persons import FOLD_SETTINGS, refold_sql
from sinks.store import INSERT_SETTINGS, Store, arrow_stream, within_range

_TOKENS: Final = 3

_JSON: Final = "JSON(max_dynamic_paths = 256)"

# The expressions of columns that are not inserted unchanged.
_COMPUTED: Final = {
    "event_id": "ifNull(toUUIDOrNull(event_id), reinterpretAsUUID(sipHash128(event_id)))",
    "properties": f"ifNull(accurateCastOrNull(properties, '{_JSON}') AS parsed, '{{}}')",
    "_properties": "if(isNull(parsed), properties, '')",
}
_INPUT_COLUMNS: Final = {
    "event_id": "String",
    "project_id": "LowCardinality(String)",
    "distinct_id": "String",
    "person_id": "String",
    "anonymous_id": "Nullable(String)",
    "session_id": "Nullable(String)",
    "event": "LowCardinality(String)",
    "timestamp": "DateTime64(3, 'UTC')",
    "sent_at": "Nullable(DateTime64(3, 'UTC'))",
    "received_at": "DateTime64(3, 'UTC')",
    "properties": "String",
    "context": "String",
    "_partition": "UInt32",
    "_offset": "UInt64",
}

_SETTINGS: Final = INSERT_SETTINGS | {
    # Text remains text, whatever it looks like.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # {"a.b": 1} and {"a": {"b": 1}} remain different; of a repeated key the first one counts.
    "json_type_escape_dots_in_keys": 1,
    "type_json_skip_duplicated_paths": 1,
}

# The columns by which a row is found again.
_PLACE: Final = ["project_id", "event", "timestamp", "_partition", "_offset"]
_MANY_ROWS: Final = 1_000  # of a month that has an INSERT of its own
_MAX_GROUP: Final = 50  # months of an INSERT; ClickHouse allows 100 by default

_TIMES: Final = ("timestamp", "sent_at", "received_at")


class Month(NamedTuple):
    """The rows of a calendar month, whose number is 202511 for November 2025."""

    number: int
    rows: pa.RecordBatch


class ClickHouseSink:
    """Writes to the ClickHouse of the settings; connects at first use."""

    repeatable: Final = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = quote_identifier(settings.clickhouse_database)
        self._table = f"{self._database}.events"
        self._insert_text = _insert_text(self._table)
        self._store = Store(settings)

    def setup(self) -> None:
        """Create the database, and make its tables those of this version."""
        self._store.migrate()

    def write(self, batch: Batch) -> None:
        """Insert the batch month by month; see the module for why each row is there once."""
        for months in _grouped(_by_month(within_range(batch.rows, _TIMES))):
            token = f"events:{batch.name}:{months[0].number}"
            if batch.again:
                self._insert_if_missing(months, token)
            else:
                self._insert(months, token, batch.planned_at_s)
        if batch.again:
            self.derive(batch.partition, batch.first, batch.last)

    def stored(self, partition: int, count: int) -> dict[int, Row]:
        """Return the rows of a partition with the highest offsets, by offset."""
        text = self._store.command(
            "SELECT _offset, project_id, distinct_id, event "  # noqa: S608 - numbers and our name
            f"FROM {self._table} WHERE _partition = {partition} "
            f"ORDER BY _offset DESC LIMIT {count} FORMAT JSONCompactEachRow",
            settings={
                "select_sequential_consistency": 1,
                "output_format_json_quote_64bit_integers": 0,
            },
        )
        lines = text.encode().splitlines() if isinstance(text, str) else []  # a summary if empty
        rows = msgspec.json.decode(b"[" + b",".join(lines) + b"]")
        return {offset: Row(*names) for offset, *names in rows}

    def derive(self, partition: int, first: int, last: int) -> None:
        """Derive from the events at a range of offsets what is kept of their persons.

        Inserting events does it as well, unless the store is killed meanwhile. Doing it again
        changes nothing.
        """
        self._store.command(
            refold_sql(self._database, partition, first, last), settings=dict(FOLD_SETTINGS)
        )

    def reopened(self) -> "ClickHouseSink":
        """Return another sink of the same table, with a connection of its own."""
        return ClickHouseSink(self._settings)

    def close(self) -> None:
        """Close the connection."""
        self._store.close()

    def _insert_if_missing(self, months: Sequence[Month], token: str) -> None:
        for number in range(_TOKENS):
            asked_at_s = boot_clock_s()
            missing = self._missing(months)
            if not missing:
                return
            self._insert(missing, f"{token}:{number}" if number else token, asked_at_s)
        if self._missing(months):
            raise Unavailable(f"the store accepts the insert {token} but lacks its rows")

    def _missing(self, months: Sequence[Month]) -> list[Month]:
        """Return the months without their last row: a part has all of its rows or is not there."""
        last = [month.rows.slice(month.rows.num_rows - 1) for month in months]
        rows = pa.Table.from_batches(last).select(_PLACE)
        projects, events = (
            ", ".join(
                f"unhex('{str(text).encode().hex()}')" for text in set(rows[name].to_pylist())
            )
            for name in ("project_id", "event")
        )
        times = ", ".join(
            f"fromUnixTimestamp64Milli({time_ms})"
            for time_ms in set(rows["timestamp"].cast(pa.int64()).to_pylist())
        )
        offsets = rows["_offset"].to_pylist()
        found = self._store.command(
            "SELECT arrayStringConcat(groupUniqArray(toString(_offset)), ',') "  # noqa: S608 - hexadecimal and numbers
            f"FROM {self._table} WHERE project_id IN ({projects}) AND event IN ({events}) "
            f"AND timestamp IN ({times}) AND _partition = {rows['_partition'][0]} "
            f"AND _offset IN ({', '.join(map(str, offsets))})",
            # On a cluster, every replica then returns what a quorum has confirmed.
            settings={"select_sequential_consistency": 1},
        )
        there = set(map(int, filter(None, str(found).split(","))))
        return [month for month, offset in zip(months, offsets, strict=True) if offset not in there]

    def _insert(self, months: Sequence[Month], token: str, since_s: float) -> None:
        self._store.command(
            f"{self._insert_text} WHERE {self._store.in_time(since_s)} FORMAT ArrowStream",
            data=arrow_stream([month.rows for month in months]),
            settings=_SETTINGS | {"insert_deduplication_token": token},
        )


def _insert_text(table: str) -> str:
    names = [*_INPUT_COLUMNS, "_properties"]
    values = (f"{_COMPUTED[name]} AS made_{name}" if name in _COMPUTED else name for name in names)
    columns = ", ".join(f"{name} {kind}" for name, kind in _INPUT_COLUMNS.items())
    inputs = columns.replace("'", "\\'")
    return (
        f"INSERT INTO {table} ({', '.join(names)}) "  # noqa: S608 - made of constants
        f"SELECT {', '.join(values)} FROM input('{inputs}')"
    )


def _by_month(rows: pa.RecordBatch) -> Iterator[Month]:
    """Yield the rows of each calendar month, in order; nothing if there are none."""
    times = rows.column("timestamp").view(pa.int64()).to_numpy()
    months = times.view("M8[ms]").astype("M8[M]").astype(np.int64)
    present = np.unique(months)
    for month in present.tolist():
        year, index = divmod(month, 12)
        part = rows if len(present) == 1 else rows.filter(pa.array(months == month))
        yield Month((1970 + year) * 100 + index + 1, part)


def _grouped(months: Iterable[Month]) -> Iterator[list[Month]]:
    """Yield the months that are inserted together; the same ones whenever they are."""
    rare: list[Month] = []
    for month in months:
        if month.rows.num_rows >= _MANY_ROWS:
            yield [month]
        else:
            rare.append(month)
    for begin in range(0, len(rare), _MAX_GROUP):
        yield rare[begin : begin + _MAX_GROUP]
