"""Answers as rows: newline-delimited JSON and CSV, written as they are read.

A list that has pages is written to its end, page by page over the same positions, in the memory of
one page. Where that fails on the way, the body ends without its last chunk.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from schemas.errors import InvalidRequest
from schemas.queries.query import Query
from services.query.http.params import one_of
from services.query.log.as_of import text_of
from services.query.queries.contract import AnyQuery, QueryContext
from services.query.queries.rows import Row

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
_ACCEPTED: Final = (JSON, NDJSON, CSV)
_ANY: Final = {"*/*", "application/*", ""}
PAGE_ROWS: Final = 20_000

_Writer = Callable[[Sequence[Row], bool], bytes]


def read_format(request: Request) -> str:
    """Return the media type that a request accepts; JSON if it accepts any.

    Raises:
        InvalidRequest: it accepts none of ours; says which there are.
    """
    accepted = [one.split(";")[0].strip() for one in request.headers.get("accept", "").split(",")]
    for one in accepted:
        if one in _ACCEPTED:
            return one
        if one in _ANY:
            return JSON
    raise InvalidRequest(f"accepted are {one_of(_ACCEPTED)}", "Accept")


async def stream(
    media_type: str, kind: AnyQuery, context: QueryContext, query: Query
) -> StreamingResponse:
    """Return a response that writes the rows of an answer.

    The first page is read before this returns, so that what is refused has its own status.
    """
    paged = hasattr(query, "after") and kind.page is not None
    query = msgspec.structs.replace(query, limit=PAGE_ROWS) if paged else query
    first = await kind.answer(context, query)
    headers = {"X-Avila-Positions": text_of(context.positions)}
    body = _written(_WRITERS[media_type], kind, context, query, first)
    return StreamingResponse(body, media_type=media_type, headers=headers)


async def _written(
    write: _Writer, kind: AnyQuery, context: QueryContext, query: Query, answer: msgspec.Struct
) -> AsyncIterator[bytes]:
    yield write(list(kind.rows(answer)), True)
    while kind.page is not None and (after := kind.page(answer)) is not None:
        query = msgspec.structs.replace(query, after=after)
        answer = await kind.answer(context, query)
        yield write(list(kind.rows(answer)), False)


def _write_ndjson(rows: Sequence[Row], first: bool) -> bytes:  # noqa: ARG001 (a `_Writer`)
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _write_csv(rows: Sequence[Row], first: bool) -> bytes:
    if not rows:
        return b""
    text = io.StringIO()
    writer = csv.writer(text)
    if first:
        writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
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
