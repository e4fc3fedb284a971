"""Answers with all persons behind a figure, as ClickHouse finds them or a view holds them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.query.clickhouse.events import Prefix, Statement
from services.query.clickhouse.queries import EventStore
from services.query.http.leaving import unless_left
from services.query.log.as_of import text_of
from services.query.tables.columns import batch_of, columns
from services.query.tables.encoders import make_encoder
from services.query.tables.response import POSITIONS_HEADER, respond
from services.query.tables.stream import encoded

TABLE: Final = columns(person="text")
_SLICE_ROWS: Final = 2_048


async def answer_persons(
    request: Request,
    media_type: str,
    events: EventStore,
    project_id: str,
    state: Callable[[Prefix], Statement],
    positions: Mapping[int, int] | None,
) -> Response:
    """Return a table of the persons that a statement with one column finds.

    It is over the events below some positions, by default over all that the store has. Raises what
    `EventStore.positions` and the statement do, before anything is sent.
    """
    if positions is None:
        positions = await unless_left(request, events.positions(project_id))
    chunks = events.stream(project_id, state, positions)
    headers = {POSITIONS_HEADER: text_of(positions)}
    body = encoded(chunks, TABLE, make_encoder(media_type, TABLE))
    return await respond(request, media_type, body, headers)


async def answer_held_persons(
    request: Request,
    media_type: str,
    persons: Callable[[], Sequence[str]],
    positions: Mapping[int, int],
) -> Response:
    """Return a table of the persons that `persons` returns; it is called on a thread.

    They are those by the events below the positions. Besides the list of them, the table takes the
    memory of a slice of it. Raises what `respond` does.
    """
    body = _held(media_type, persons)
    return await respond(request, media_type, body, {POSITIONS_HEADER: text_of(positions)})


async def _held(
    media_type: str, persons: Callable[[], Sequence[str]]
) -> AsyncGenerator[bytes, None]:
    encoder = make_encoder(media_type, TABLE)
    found = await asyncio.to_thread(persons)
    yield encoder.head()
    for begin in range(0, len(found), _SLICE_ROWS):
        rows = [{"person": one} for one in found[begin : begin + _SLICE_ROWS]]
        yield await asyncio.to_thread(encoder.rows, batch_of(TABLE, rows))
    yield encoder.end()
