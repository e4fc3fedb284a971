"""What the engine is given and what it gives back, beside the result itself."""

from collections.abc import Mapping, Sequence

import msgspec

from services.store.errors import StoreError
from services.store.statements import Insert, Query


class Table(msgspec.Struct, frozen=True):
    """External data of one query: a temporary table, filled from the file at `path`."""

    name: str
    structure: str
    format: str
    path: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One statement and all that it needs to run."""

    statement: Insert | Query
    query_id: str
    rows_path: str = ""  # where an Insert's rows are
    format: str = "TabSeparated"  # for a result that names none
    database: str = ""
    settings: Mapping[str, str] = {}
    parameters: Mapping[str, str] = {}
    tables: Sequence[Table] = ()
    session_id: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """How a statement ended; the figures are those of `X-ClickHouse-Summary`."""

    error: StoreError | None = None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0
