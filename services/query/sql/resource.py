"""Answers SQL over a project's views: as JSON, which is bounded, or as a table of any length."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from clickhouse_connect.driver.exceptions import Error
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest, Unavailable
from services.query.clickhouse.client import Store
from services.query.clickhouse.events import Statement, positions_statement
from services.query.clickhouse.reasons import reason_of
from services.query.http.leaving import unless_left
from services.query.http.params import (
    encode_response,
    instant,
    now_ms,
    project_of,
    read_choice,
    read_fields,
    take,
)
from services.query.log.as_of import text_of
from services.query.sql.files import FORMATS, TYPED, ResultColumn, typed_statement
from services.query.tables.media import ARROW, CSV, JSON, NDJSON, PARQUET, read_media_type
from services.query.tables.response import POSITIONS_HEADER, respond
from services.sql import Catalog, check
from services.sql.errors import FIELD
from services.sql.limits import MAX_RESULT_BYTES, MAX_RESULT_ROWS, STREAMED, statement_settings
from services.sql.views import DATABASE, PROJECT_PARAMETER, view_queries

FormatName = Literal["json", "csv", "ndjson", "parquet", "arrow"]
FORMAT_NAMES: Final[tuple[FormatName, ...]] = ("json", "csv", "ndjson", "parquet", "arrow")

_OUTPUT: Final[Mapping[str, int | str]] = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 0,
}
_MEDIA_TYPES: Final[Mapping[FormatName, str]] = {
    "json": JSON,
    "csv": CSV,
    "ndjson": NDJSON,
    "parquet": PARQUET,
    "arrow": ARROW,
}
_NO_TABLE: Final = {60, 81}
_Scalar = str | int | float | bool | None


class SqlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SQL to run: one SELECT in ClickHouse's dialect, over the views of the project.

    `parameters` are the values of its `{name:Type}`, by name: a text, a number, a boolean, null or
    a list of them.
    """

    sql: str
    parameters: dict[str, _Scalar | list[_Scalar]] = {}


class SqlColumn(msgspec.Struct, frozen=True):
    """A column of a result, with its type in ClickHouse."""

    name: str
    type: str


class SqlResponse(msgspec.Struct, frozen=True):
    """The result of SQL: `rows` have a value for each of the `columns`.

    `as_of` is the time at which it ran. `positions` has, for each partition of the event store, the
    offset before which all events of the project are included.
    """

    as_of: datetime.datetime
    positions: dict[int, int]
    columns: list[SqlColumn]
    # As ClickHouse has written it; a raw value is not decoded.
    rows: list[list[Any]]


class _Result(msgspec.Struct, frozen=True):
    """What ClickHouse answers in its format JSONCompact."""

    meta: list[SqlColumn]
    data: msgspec.Raw
    rows: int


class Sql:
    """The endpoint `/api/projects/{project}/sql`."""

    def __init__(self, store: Store, database: str) -> None:
        self._store = store
        self._database = database

    async def answer(self, request: Request) -> Response:
        """Run SQL and answer with its result, as JSON or as a table that is streamed."""
        project = project_of(request)
        media_type = _read_media_type(request)
        asked = _read(await read_fields(request))
        catalog = Catalog(DATABASE, {DATABASE: view_queries(self._database)}, project)
        checked = await asyncio.to_thread(check, asked.sql, catalog)
        if checked.format:
            raise InvalidRequest("FORMAT is not allowed here: use ?format=", FIELD)
        values = _values(checked.parameters, asked.parameters)
        if f"{{{PROJECT_PARAMETER}:" in checked.text:
            values[PROJECT_PARAMETER] = project
        # Read first: the result then has everything that is stored before these offsets.
        positions = await unless_left(request, self._positions(project))
        statement = Statement(checked.text, values)
        if media_type != JSON:
            headers = {POSITIONS_HEADER: text_of(positions)}
            body = self._stream(project, statement, media_type)
            return await respond(request, media_type, body, headers)
        text = await unless_left(request, self._whole(project, statement))
        result = msgspec.json.decode(text, type=_Result)
        _check_rows(result.rows)
        return encode_response(
            {
                "as_of": instant(now_ms()),
                "positions": positions,
                "columns": result.meta,
                "rows": result.data,
            }
        )

    async def _positions(self, project: str) -> dict[int, int]:
        statement = positions_statement(self._database, project)
        ends = await self._store.columns(project, *statement)
        return {int(one): int(end) for one, end in zip(*ends, strict=True)}

    async def _whole(self, project: str, statement: Statement) -> bytes:
        settings = {**statement_settings(self._database, project), **_OUTPUT}
        with self._refusing():
            return await self._store.text(
                project, *statement, settings, "JSONCompact", MAX_RESULT_BYTES
            )

    async def _stream(
        self, project: str, statement: Statement, media_type: str
    ) -> AsyncGenerator[bytes, None]:
        settings = {**statement_settings(self._database, project), **_OUTPUT, **STREAMED}
        with self._refusing():
            if media_type in TYPED:
                columns = await self._described(project, statement)
                statement = statement._replace(text=typed_statement(statement.text, columns))
            chunks = self._store.stream(project, *statement, settings, FORMATS[media_type])
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def _described(self, project: str, statement: Statement) -> list[ResultColumn]:
        settings = {**statement_settings(self._database, project), **_OUTPUT}
        text = f"DESCRIBE TABLE (\n{statement.text}\n)"
        described = await self._store.text(
            project, text, statement.parameters, settings, "JSONCompactEachRow", MAX_RESULT_BYTES
        )
        rows = map(msgspec.json.decode, described.splitlines())
        return [ResultColumn(str(row[0]), str(row[1])) for row in rows]

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise what ClickHouse refuses as an error of the request."""
        try:
            yield
        except Error as error:
            reason = reason_of(error)
            if error.code in _NO_TABLE and self._database in str(error):
                raise Unavailable(f"ClickHouse has no such events yet: {reason}") from error
            raise InvalidRequest(f"ClickHouse refuses it: {reason}", FIELD) from error


def _read_media_type(request: Request) -> str:
    """Return the media type that `format` asks for, or else the header `Accept`."""
    if "format" not in request.query_params:
        return read_media_type(request)
    return _MEDIA_TYPES[read_choice(request, "format", FORMAT_NAMES)]


def _check_rows(count: int) -> None:
    """Refuse too long a result: the embedded engine does not keep to `max_result_rows`."""
    if count > MAX_RESULT_ROWS:
        raise InvalidRequest(
            f"the result has more than {MAX_RESULT_ROWS} rows: add a LIMIT, or aggregate, or ask "
            "for a table, which is streamed"
        )


def _read(fields: dict[str, msgspec.Raw]) -> SqlRequest:
    sql = take(fields, "sql", str)
    parameters = take(fields, "parameters", dict[str, _Scalar | list[_Scalar]])
    if fields:
        raise InvalidRequest("is unknown; accepted are `sql` and `parameters`", next(iter(fields)))
    if sql is None:
        raise InvalidRequest("is required", "sql")
    return SqlRequest(sql, parameters or {})


def _values(
    types: Mapping[str, str], given: Mapping[str, _Scalar | list[_Scalar]]
) -> dict[str, object]:
    """Return the values of a statement's parameters.

    Raises:
        InvalidRequest: one is missing, or is not in the statement.
    """
    for name in given:
        if name not in types:
            raise InvalidRequest("is not in the SQL", f"parameters.{name[:100]}")
    for name, kind in types.items():
        if name not in given:
            raise InvalidRequest(f"is required: a value of the type {kind}", f"parameters.{name}")
    return dict(given)
