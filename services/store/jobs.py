"""The engine's input, and its output beside the result itself."""

from collections.abc import Mapping, Sequence

import msgspec

from services.store.errors import StoreError
from services.store.statements import Insert, Query


class Table(msgspec.Struct, frozen=True):
    """External data of one query: a temporary table with the rows of the file at `path`."""

    name: str
    structure: str
    format: str
    path: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One statement with everything that it needs to run."""

    statement: Insert | Query
    query_id: str
    rows_path: str = ""  # file with the rows of an Insert
    format: str = "TabSeparated"  # of the result, unless the statement names one
    database: str = ""
    settings: Mapping[str, str] = {}
    parameters: Mapping[str, str] = {}
    tables: Sequence[Table] = ()
    session_id: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """How a statement ended, with the numbers for `X-ClickHouse-Summary`."""

    error: StoreError | None = None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0
