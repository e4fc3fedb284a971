"""The ClickHouse sink: table `events`, each event once, over HTTP by clickhouse-connect.

A batch goes in as one INSERT per calendar month: one block, one part, there as a whole or not at
all, under a deduplication token that is made of nothing but the cut and the month. ClickHouse drops
an insert whose token it knows. That alone is not enough, and what else is done is this:

- It knows only the newest tokens. A process that was stopped after its plan was persisted may send
  its insert hours later. So the statement carries a deadline, by the store's own clock, and the
  store refuses it afterwards: a token is known for longer than its insert can be on its way.
- A store that is killed can have the part and not its token, or (older ones) the token and not the
  part. So whoever cannot be the first looks for the batch's last row before it inserts, and again
  afterwards, and takes another token if the row is still not there.
- It drops other rows under the same token silently. So the token has a checksum of the cut.

Nothing in a row can make the INSERT fail: what ClickHouse's JSON type refuses is kept as text in
`_properties`, an event id that is no UUID becomes the UUID of its hash, and a time that DateTime64
does not hold becomes the nearest it does.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError

from schemas.errors import Unavailable
from schemas.settings import Settings
from sinks.base import Batch, boot_clock_s
from sinks.connection import connect

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# From the evidence that nobody has written a batch to its insert's arrival at the store.
WRITE_TIMEOUT_S: Final = 120
_RUN_TIMEOUT_S: Final = 120
_TOKENS: Final = 3
_CLOCK_KEPT_S: Final = 60

_SCHEMA: Final = Path(__file__).with_name("schema.sql")
_JSON: Final = "JSON(max_dynamic_paths = 256)"

# What each column of the table is made of; the others are taken as they come.
_MADE: Final = {
    "event_id": "ifNull(toUUIDOrNull(event_id), reinterpretAsUUID(sipHash128(event_id)))",
    "properties": f"ifNull(accurateCastOrNull(properties, '{_JSON}') AS parsed, '{{}}')",
    "_properties": "if(isNull(parsed), properties, '')",
}
_SENT: Final = {
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

_SETTINGS: Final[dict[str, Any]] = {
    # Text stays text, whatever it looks like.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # {"a.b": 1} and {"a": {"b": 1}} stay different, and of a key given twice the first one counts.
    "json_type_escape_dots_in_keys": 1,
    "type_json_skip_duplicated_paths": 1,
    # One block a statement, written when the answer comes.
    "async_insert": 0,
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_execution_time": _RUN_TIMEOUT_S,
}

_TIMES: Final = ("timestamp", "sent_at", "received_at")

# DateTime64 holds these years.
_FIRST_MS: Final = int(np.datetime64("1900-01-01", "ms").astype(np.int64))
_LAST_MS: Final = int(np.datetime64("2299-12-31T23:59:59.999", "ms").astype(np.int64))


class ClickHouseSink:
    """Writes to the ClickHouse of the settings; connects when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = quote_identifier(settings.clickhouse_database)
        self._table = f"{self._database}.events"
        self._insert_text = _insert_text(self._table)
        self._client: Client | None = None
        self._clock_ahead_s = 0.0
        self._clock_read_at_s = -float(_CLOCK_KEPT_S)

    def setup(self) -> None:
        """Create the database and the table where they are missing."""
        text = _SCHEMA.read_text("utf-8").replace("{database}", self._database)
        for statement in text.strip().removesuffix(";").split(";\n"):
            self._command(statement)

    def write(self, batch: Batch) -> None:
        """Insert the batch, a month at a time; see the module for why each row is there once."""
        for month, rows in _by_month(_within_range(batch.rows)):
            token = f"events:{batch.name}:{month}"
            if batch.again:
                self._make_sure(rows, token)
            else:
                self._insert(rows, token, batch.planned_at_s)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _make_sure(self, rows: pa.RecordBatch, token: str) -> None:
        for number in range(_TOKENS):
            asked_at_s = boot_clock_s()
            if self._stands(rows):
                return
            self._insert(rows, f"{token}:{number}" if number else token, asked_at_s)
        if not self._stands(rows):
            raise Unavailable(f"the store takes {token} and does not have it")

    def _stands(self, rows: pa.RecordBatch) -> bool:
        """Whether the last row is there: a block that was split is written in order."""
        last = rows.num_rows - 1
        project, event = (
            rows.column(name)[last].as_py().encode().hex() for name in ("project_id", "event")
        )
        time_ms = rows.column("timestamp").view(pa.int64())[last].as_py()
        found = self._command(
            f"SELECT count() FROM {self._table} "  # noqa: S608 - hexadecimal and numbers
            f"WHERE project_id = unhex('{project}') AND event = unhex('{event}') "
            f"AND timestamp = fromUnixTimestamp64Milli({time_ms}) "
            f"AND _partition = {rows.column('_partition')[last]} "
            f"AND _offset = {rows.column('_offset')[last]}",
            # On a cluster: what a quorum has confirmed, wherever it is asked.
            settings={"select_sequential_consistency": 1},
        )
        return bool(int(found))

    def _insert(self, rows: pa.RecordBatch, token: str, since_s: float) -> None:
        self._read_clock()
        until_ms = int((since_s + WRITE_TIMEOUT_S + self._clock_ahead_s) * 1_000)
        self._command(
            f"{self._insert_text} WHERE throwIf(now64(3) > fromUnixTimestamp64Milli({until_ms}), "
            "'too late: look first') = 0 FORMAT ArrowStream",
            data=_arrow_stream(rows),
            settings=_SETTINGS | {"insert_deduplication_token": token},
        )

    def _read_clock(self) -> None:
        """Learn how far the store's clock is ahead of this machine's seconds since its start."""
        if boot_clock_s() - self._clock_read_at_s < _CLOCK_KEPT_S:
            return
        now_ms = int(self._command("SELECT toUnixTimestamp64Milli(now64(3))"))
        # Read after the answer: the deadline comes out early by the way back, never late.
        self._clock_read_at_s = boot_clock_s()
        self._clock_ahead_s = now_ms / 1_000 - self._clock_read_at_s

    def _command(self, statement: str, **arguments: Any) -> Any:
        try:
            if self._client is None:
                self._client = connect(
                    self._settings, timeout_s=_RUN_TIMEOUT_S + 5, name="avila-sink"
                )
            return self._client.command(statement, **arguments)
        except ProgrammingError:
            raise
        except DatabaseError as error:
            self._clock_read_at_s = -float(_CLOCK_KEPT_S)
            raise Unavailable(f"ClickHouse did not carry it out: {error}") from error


def _insert_text(table: str) -> str:
    names = [*_SENT, "_properties"]
    values = (f"{_MADE[name]} AS made_{name}" if name in _MADE else name for name in names)
    sent = ", ".join(f"{name} {kind}" for name, kind in _SENT.items()).replace("'", "\\'")
    return (
        f"INSERT INTO {table} ({', '.join(names)}) "  # noqa: S608 - all of it is ours
        f"SELECT {', '.join(values)} FROM input('{sent}')"
    )


def _arrow_stream(rows: pa.RecordBatch) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema) as stream:
        stream.write_batch(rows)
    return out.getvalue().to_pybytes()


def _within_range(rows: pa.RecordBatch) -> pa.RecordBatch:
    for name in _TIMES:
        place = rows.schema.get_field_index(name)
        times = rows.column(place).view(pa.int64())
        known = times.fill_null(0).to_numpy()
        if known.min(initial=0) < _FIRST_MS or known.max(initial=0) > _LAST_MS:
            missing = times.is_null().to_numpy(zero_copy_only=False)
            held = pa.array(np.clip(known, _FIRST_MS, _LAST_MS), pa.int64(), mask=missing)
            field = rows.schema.field(place)
            rows = rows.set_column(place, field, held.view(field.type))
    return rows


def _by_month(rows: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each calendar month (as 202511), in their order; nothing for no rows."""
    times = rows.column("timestamp").view(pa.int64()).to_numpy()
    months = times.view("M8[ms]").astype("M8[M]").astype(np.int64)
    present = np.unique(months)
    for month in present.tolist():
        year, index = divmod(month, 12)
        part = rows if len(present) == 1 else rows.filter(pa.array(months == month))
        yield (1970 + year) * 100 + index + 1, part
