"""The engine's input, and its output beside the result itself."""

from collections.abc import Mapping, Sequence

import msgspec

from services.store.errors import Code, StoreError
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

    def within(self, settings: Mapping[str, str]) -> "Outcome":
        """Return this outcome, failed if the result has more rows than `max_result_rows`.

        The engine checks that itself only where rows come from a table. What has been sent by then
        ends with the error, as any result does that fails on the way.
        """
        most = settings.get("max_result_rows", "0")
        if not most.isdecimal() or settings.get("result_overflow_mode", "throw") != "throw":
            return self
        if not 0 < int(most) < self.result_rows:
            return self
        message = f"Limit for result exceeded, max rows: {most}, current rows: {self.result_rows}"
        return msgspec.structs.replace(self, error=StoreError(Code.TOO_MANY_ROWS_OR_BYTES, message))
