"""Answers queries with tables: the rows of an answer, or all rows of a list as ClickHouse has them.

Rows of an answer are written as the answer has them, so that the same value has the same text in
JSON and in a table.
"""

import contextlib
import csv
import io
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.queries.query import Query
from services.query.log.as_of import text_of
from services.query.queries.contract import AnyQuery, QueryContext
from services.query.queries.rows import Row
from services.query.tables.columns import Column, batch_of
from services.query.tables.encoders import make_encoder
from services.query.tables.media import CSV, NDJSON
from services.query.tables.persons import TABLE as PERSONS
from services.query.tables.response import POSITIONS_HEADER, respond
from services.query.tables.stream import encoded

_Writer = Callable[[Sequence[Column], Sequence[Row]], bytes]


async def answer_table(
    request: Request, media_type: str, kind: AnyQuery, context: QueryContext, query: Query
) -> Response:
    """Return a response that has the answer to a query as a table.

    Raises what the query is refused with, before anything is sent.
    """
    headers = {POSITIONS_HEADER: text_of(context.positions)}
    return await respond(request, media_type, _body(media_type, kind, context, query), headers)


async def _body(
    media_type: str, kind: AnyQuery, context: QueryContext, query: Query
) -> AsyncGenerator[bytes, None]:
    state, table = await kind.export(context, query) if kind.export else None, kind.table
    if kind.persons is not None and (of_persons := await kind.persons(context, query)) is not None:
        state, table = of_persons, PERSONS
    if state is None:
        yield _written(media_type, table, list(kind.rows(await kind.answer(context, query))))
        return
    chunks = context.events.stream(context.project_id, state, context.positions)
    pieces = encoded(chunks, table, make_encoder(media_type, table))
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            yield piece


def _written(media_type: str, table: Sequence[Column], rows: Sequence[Row]) -> bytes:
    write = _WRITERS.get(media_type)
    if write is not None:
        return write(table, rows)
    encoder = make_encoder(media_type, table)
    return encoder.head() + encoder.rows(batch_of(table, rows)) + encoder.end()


def _write_ndjson(table: Sequence[Column], rows: Sequence[Row]) -> bytes:  # noqa: ARG001 (a `_Writer`)
    return msgspec.json.Encoder().encode_lines(rows)


def _write_csv(table: Sequence[Column], rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(one.name for one in table)
    writer.writerows([_cell(row[one.name]) for one in table] for row in rows)
    return text.getvalue().encode()


_WRITERS: Final[Mapping[str, _Writer]] = {NDJSON: _write_ndjson, CSV: _write_csv}


def _cell(value: Any) -> str:
    """Return a value as a cell has it: text as it is, nothing for null, and all else as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
    return msgspec.json.encode(value).decode()
