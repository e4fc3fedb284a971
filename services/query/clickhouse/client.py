"""Queries ClickHouse, the embedded store or a server, with a bounded number of queries at once."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from schemas.errors import BackOff, InvalidRequest, Unavailable
from schemas.settings import Settings
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
_LIMITS: Final = {
    "readonly": 1,
    "max_execution_time": MAX_EXECUTION_S,
    "max_memory_usage": MAX_MEMORY_BYTES // MAX_RUNNING,
    # What needs more is written to disk, where that can be done.
    "max_bytes_before_external_group_by": MAX_MEMORY_BYTES // MAX_RUNNING // 3,
    "max_bytes_before_external_sort": MAX_MEMORY_BYTES // MAX_RUNNING // 3,
    "max_result_rows": 1_000_000,
    **NOT_COMPILED,
}


class Store:
    """A connection that is opened when first needed, and again after the store was away."""

    def __init__(self, settings: Settings) -> None:
        self._location = location(settings)
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._turns = Turns(MAX_RUNNING, _MAX_WAITING_PER_PROJECT)

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
            client = await self._connect()
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
            client = await self._connect()
            with _as_avila_errors(own_statement=False):
                answer = await client.raw_stream(
                    statement,
                    parameters=dict(parameters) or None,
                    settings=dict(settings),
                    fmt=format_name,
                )
                body = bytearray()
                async with answer as chunks:
                    async for chunk in chunks:
                        body += chunk
                        if len(body) > max_bytes:
                            raise InvalidRequest(
                                f"the result has more than {max_bytes} bytes: add a LIMIT, or "
                                "aggregate"
                            )
        return bytes(body)

    async def trouble(self) -> str:
        """Return why the store cannot be queried; empty if it can."""
        try:
            client = await self._connect()
        except Unavailable as error:
            return str(error)
        return "" if await client.ping() else "ClickHouse does not answer"

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                with _as_avila_errors():
                    self._client = await clickhouse_connect.get_async_client(
                        **self._location,
                        client_name="avila-query",
                        connect_timeout=_CONNECT_S,
                        send_receive_timeout=MAX_EXECUTION_S + _CONNECT_S,
                        # A retry by the client would double the load of a busy store.
                        query_retries=0,
                    )
            return self._client


@contextlib.contextmanager
def _as_avila_errors(*, own_statement: bool = True) -> Iterator[None]:
    """Raise errors of ClickHouse as ours; names in a statement of our own are always right."""
    try:
        yield
    except Error as error:
        code = error.code or 0
        reason = reason_of(error)
        if refusal := too_much(error):
            raise InvalidRequest(refusal) from error
        if code in _BUSY or is_short_of_memory(error):
            raise BackOff(f"ClickHouse is busy: {reason}", 1) from error
        if code in _NO_TABLE and own_statement:
            raise Unavailable(f"ClickHouse has no events yet: {reason}") from error
        if code:
            raise
        raise Unavailable(f"ClickHouse does not answer: {reason}") from error
    except (ClickHouseError, OSError, TimeoutError) as error:
        raise Unavailable(f"ClickHouse does not answer: {error!r}") from error


_BUSY: Final = {202, 203}  # too many queries at once, no free connection
_NO_TABLE: Final = {60, 81}  # unknown table, unknown database
