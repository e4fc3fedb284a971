"""`GET …/funnels/{id}/persons/{person}/trace`."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from schemas.errors import InvalidRequest
from schemas.operators.funnel import FunnelDefinition
from services.query.clickhouse.queries import EventStore
from services.query.http.describe import (
    AS_OF,
    json_response,
    number,
    operation,
    parameter,
)
from services.query.http.params import DEFAULT_PAGE, MAX_PAGE, now_ms
from services.query.operators.context import Context
from services.query.trace.chains import Chain, chains
from services.query.trace.response import FunnelTraceResponse, Page, trace
from services.query.trace.sql import FIRST, Place, Recorded, line_statement, read_line

_MAX_BESIDE: Final = 500  # events before a page, and as many after it

TRACE: Final = operation(
    "traceFunnelPerson",
    "What each event of a person did in a funnel, from ClickHouse: why the person is counted, or "
    "why not",
    {"200": json_response(FunnelTraceResponse)},
    404,
    parameters=(
        number("limit", "The most events to return.", 1, maximum=MAX_PAGE, default=DEFAULT_PAGE),
        parameter(
            "after", {"type": "string"}, "Only events after this one: `next` of an earlier answer."
        ),
        AS_OF,
    ),
)


def read_place(request: Request) -> Place:
    """Read after which event a page begins.

    Raises:
        InvalidRequest: it is no such place.
    """
    text = request.query_params.get("after")
    if text is None:
        return FIRST
    at, _, offset = text.partition(":")
    digits = at.removeprefix("-"), offset
    if all(part.isascii() and part.isdigit() and len(part) < 18 for part in digits):
        return Place(int(at), int(offset))
    raise InvalidRequest("accepted is `next` of an earlier answer", "after")


async def trace_person(
    context: Context, request: Request, definition: FunnelDefinition, after: Place, limit: int
) -> FunnelTraceResponse:
    """Follow the person that the path names through a funnel.

    Raises what `Context.prefix` and `EventStore.query` do.
    """
    project, person = definition.project_id, str(request.path_params["person"])
    prefix = await context.prefix(request, project)
    if prefix is None:
        positions, clock = await context.events.positions(project), context.clock(project, now_ms())
    else:
        positions, clock = prefix.positions, prefix.clock
    events = context.events
    before: list[Recorded] = []
    if after != FIRST:
        begin = Place(after.at - 1_000 * definition.funnel.window_s - 1, 0)
        before = await _line(events, definition, person, positions, begin, after, _MAX_BESIDE)
    later = await _line(events, definition, person, positions, after, None, limit + _MAX_BESIDE)
    partial = len(before) == _MAX_BESIDE or len(later) == limit + _MAX_BESIDE
    page = Page([*before, *later], len(before), limit, partial)
    now = now_ms() if clock is None else clock
    found = await asyncio.to_thread(_follow, definition, page, now)
    complete = context.complete_until(project, "store", prefix=prefix)
    return trace(definition, person, page, found, context.lateness_ms, positions, complete)


def _follow(definition: FunnelDefinition, page: Page, now: int) -> list[Chain]:
    return list(chains(definition.funnel, [one.happening for one in page.line], now))


async def _line(
    events: EventStore,
    definition: FunnelDefinition,
    person: str,
    positions: Mapping[int, int],
    since: Place,
    until: Place | None,
    limit: int,
) -> list[Recorded]:
    result = await events.query(
        definition.project_id,
        lambda source: line_statement(source, definition, person, since, until, limit),
        positions,
    )
    return read_line(definition, result.columns)
