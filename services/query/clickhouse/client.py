"""Queries ClickHouse, the embedded store or a server, with a bounded number of queries at once.

Results that are streamed have places of their own, so that slow readers keep no query waiting.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from schemas.errors import BackOff, InvalidRequest, Unavailable
from schemas.settings import Settings
from services.query.clickhouse.late_errors import LateError, without_late_error
from services.query.clickhouse.reasons import is_short_of_memory, reason_of, too_much
from services.turns import Turns
from sinks.connection import location

MAX_RUNNING: Final = 4
_MAX_WAITING_PER_PROJECT: Final = 32
_CONNECT_S: Final = 3

# A query seldom runs twice, so compiling its expressions costs more than it saves.
NOT_COMPILED: Final = {
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
}
# A query may change nothing, and is bounded in time, memory and rows.
MAX_EXECUTION_S: Final = 30
# Of all queries that run at once.
MAX_MEMORY_BYTES: Final = 3 << 29
# A client that leaves ends its query, also on a server.
_READING: Final[Mapping[str, int | str]] = {
    "readonly": 1,
    "cancel_http_readonly_queries_on_client_close": 1,
}
_LIMITS: Final[Mapping[str, int | str]] = {
    **_READING,
    "max_execution_time": MAX_EXECUTION_S,
    "max_memory_usage": MAX_MEMORY_BYTES // MAX_RUNNING,
    # What needs more is written to disk, where that can be done.
    "max_bytes_before_external_group_by": MAX_MEMORY_BYTES // MAX_RUNNING // 3,
    "max_bytes_before_external_sort": MAX_MEMORY_BYTES // MAX_RUNNING // 3,
    "max_result_rows": 1_000_000,
    **NOT_COMPILED,
}
# Results that are streamed have no limit in rows, and last as long as their reader takes.
MAX_EXPORTS: Final = 3
MAX_EXPORT_S: Final = 1_800
MAX_EXPORT_MEMORY_BYTES: Final = 1 << 28
_MAX_EXPORTS_WAITING_PER_PROJECT: Final = 8
_EXPORT_LIMITS: Final[Mapping[str, int | str]] = {
    **_READING,
    "max_execution_time": MAX_EXPORT_S,
    "max_memory_usage": MAX_EXPORT_MEMORY_BYTES,
    "max_bytes_before_external_group_by": MAX_EXPORT_MEMORY_BYTES // 4,
    "max_bytes_before_external_sort": MAX_EXPORT_MEMORY_BYTES // 4,
    "max_result_rows": 0,
    "max_result_bytes": 0,
    # A block is in memory as a whole: here, in the store, and in the reader.
    "max_block_size": 8_192,
    "output_format_arrow_compression_method": "none",
    "output_format_parquet_row_group_size": 131_072,
    "output_format_parquet_row_group_size_bytes": 16 << 20,
    **NOT_COMPILED,
}


class Store:
    """A connection that is opened when first needed, and again after the store was away."""

    def __init__(self, settings: Settings) -> None:
        at = location(settings)
        self._queries = _Connection(at, MAX_EXECUTION_S + _CONNECT_S)
        self._exports = _Connection(at, MAX_EXPORT_S)
        self._turns = Turns(MAX_RUNNING, _MAX_WAITING_PER_PROJECT)
        self._export_turns = Turns(MAX_EXPORTS, _MAX_EXPORTS_WAITING_PER_PROJECT)

    async def columns(
        self, project_id: str, statement: str, parameters: Mapping[str, object]
    ) -> list[Sequence[Any]]:
        """Return the result of a project's statement, column by column; `parameters` are bound.

        Raises:
            BackOff: too many queries of the project are waiting, or the store is busy.
            InvalidRequest: the query exceeds a limit on time, memory or rows.
            Unavailable: the store does not answer, or has no events yet.
        """
        async with self._turns.turn(project_id):
            client = await self._queries.open()
            with _as_avila_errors():
                answer = await client.query(
                    statement, parameters=dict(parameters), settings=dict(_LIMITS)
                )
        columns: list[Sequence[Any]] = list(answer.result_columns)
        return columns or [[] for _ in answer.column_names]

    async def text(
        self,
        project_id: str,
        statement: str,
        parameters: Mapping[str, object],
        settings: Mapping[str, int | str],
        format_name: str,
        max_bytes: int,
    ) -> bytes:
        """Return the result of a project's statement in a format of ClickHouse.

        Raises:
            clickhouse_connect.driver.exceptions.Error: ClickHouse refuses the statement; it has the
                `code` of the reason.
            BackOff, InvalidRequest, Unavailable: as `columns` does; a result of more than
                `max_bytes` exceeds a limit.
        """
        async with self._turns.turn(project_id):
            client = await self._queries.open()
            body = bytearray()
            chunks = _chunks(client, statement, parameters, settings, format_name)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > max_bytes:
                        raise InvalidRequest(
                            f"the result has more than {max_bytes} bytes: add a LIMIT, or aggregate"
                        )
        return bytes(body)

    async def stream(
        self,
        project_id: str,
        statement: str,
        parameters: Mapping[str, object],
        settings: Mapping[str, int | str] | None = None,
        format_name: str = "ArrowStream",
    ) -> AsyncGenerator[bytes, None]:
        """Yield the result of a project's statement in a format of ClickHouse, as it is read.

        `settings` take the place of those that all streams have. Closing the generator ends the
        query.

        Raises:
            clickhouse_connect.driver.exceptions.Error: ClickHouse refuses the statement; it has the
                `code` of the reason.
            BackOff, InvalidRequest, Unavailable: as `columns` does. What has been yielded by then
                is a part of the result.
        """
        limits: dict[str, int | str] = {**_EXPORT_LIMITS, **(settings or {})}
        async with self._export_turns.turn(project_id):
            client = await self._exports.open()
            chunks = _chunks(client, statement, parameters, limits, format_name)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def trouble(self) -> str:
        """Return why the store cannot be queried; empty if it can."""
        try:
            client = await self._queries.open()
        except Unavailable as error:
            return str(error)
        return "" if await client.ping() else "ClickHouse does not answer"

    async def close(self) -> None:
        """Close the connections."""
        await self._queries.close()
        await self._exports.close()


class _Connection:
    """A client that is made when first needed; a read waits for `read_timeout_s` at most."""

    def __init__(self, at: Mapping[str, Any], read_timeout_s: float) -> None:
        self._at = at
        self._read_timeout_s = read_timeout_s
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def open(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                with _as_avila_errors():
                    self._client = await clickhouse_connect.get_async_client(
                        **self._at,
                        client_name="avila-query",
                        connect_timeout=_CONNECT_S,
                        send_receive_timeout=self._read_timeout_s,
                        # A retry by the client would double the load of a busy store.
                        query_retries=0,
                    )
            return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


async def _chunks(
    client: AsyncClient,
    statement: str,
    parameters: Mapping[str, object],
    settings: Mapping[str, int | str],
    format_name: str,
) -> AsyncGenerator[bytes, None]:
    """Yield a result as it is read; raises what `Store.stream` does."""
    with _as_avila_errors(own_statement=False):
        answer = await client.raw_stream(
            statement,
            parameters=dict(parameters) or None,
            settings=dict(settings),
            fmt=format_name,
        )
        async with answer as read:
            async for chunk in without_late_error(read):
                yield chunk


@contextlib.contextmanager
def _as_avila_errors(*, own_statement: bool = True) -> Iterator[None]:
    """Raise errors of ClickHouse as ours; names in a statement of our own are always right."""
    try:
        yield
    except (Error, LateError) as error:
        code = error.code or 0
        reason = reason_of(error)
        if refusal := too_much(error):
            raise InvalidRequest(refusal) from error
        if code in _BUSY or is_short_of_memory(error):
            raise BackOff(f"ClickHouse is busy: {reason}", 1) from error
        if code in _NO_TABLE and own_statement:
            raise Unavailable(f"ClickHouse has no events yet: {reason}") from error
        if isinstance(error, LateError):
            raise Unavailable(f"ClickHouse has ended the query: {reason}") from error
        if code:
            raise
        raise Unavailable(f"ClickHouse does not answer: {reason}") from error
    except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"ClickHouse does not answer: {error!r}") from error


_BUSY: Final = {202, 203}  # too many queries at once, no free connection
_NO_TABLE: Final = {60, 81}  # unknown table, unknown database
