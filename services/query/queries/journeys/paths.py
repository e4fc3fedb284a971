"""Paths: which events follow which, from, to or through an event."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from schemas.queries.journeys import PATHS as SPEC
from schemas.queries.journeys import PathsQuery
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.journeys.paths_sql import edges_select, persons_select
from services.query.queries.ranges import read_range
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.tables.columns import columns


class PathEventResponse(msgspec.Struct, frozen=True):
    """An event at a step: how many persons have it there, by what became of their paths.

    `dropped` is how many paths end there, and `open` how many have not gone on yet but may. Those
    at the last step that is followed are neither.
    """

    step: int
    event: str
    persons: int
    dropped: int
    open: int


class PathEdgeResponse(msgspec.Struct, frozen=True):
    """How many persons went from an event at a step to another at the next one.

    `other` marks the sum of the edges of a step that are not shown, which has no events.
    """

    step: int
    source: str | None
    target: str | None
    other: bool
    persons: int


class PathPersonsResponse(msgspec.Struct, frozen=True):
    """Some of the persons that were asked for, by id; `next` is the next page's `after`."""

    persons: list[str]
    next: str | None


class PathsResponse(QueryResponse, frozen=True, kw_only=True):
    """Paths, one a person; step 0 is the event from which they are followed.

    `events` and `edges` are by step, the most persons first; equal ones by name. `persons` is null
    unless they were asked for.
    """

    paths: int
    events: list[PathEventResponse]
    edges: list[PathEdgeResponse]
    persons: PathPersonsResponse | None


Row = tuple[int, str, str, int, int, int]


def events_of(rows: Sequence[Row]) -> list[PathEventResponse]:
    """Return the events at each step, from the rows of an `edges_select`."""
    sums: dict[tuple[int, str], list[int]] = {}
    for step, source, _, *counts in rows:
        known = sums.setdefault((step, source), [0, 0, 0])
        sums[step, source] = [a + b for a, b in zip(known, counts, strict=True)]
    found = [PathEventResponse(step, name, *counts) for (step, name), counts in sums.items()]
    return sorted(found, key=lambda one: (one.step, -one.persons, one.event.encode()))


def edges_of(rows: Sequence[Row], cap: int) -> Iterator[PathEdgeResponse]:
    """Yield the edges of each step, from the rows of an `edges_select`, which are in order."""
    for step in sorted({row[0] for row in rows}):
        edges = [row for row in rows if row[0] == step and row[2]]
        for _, source, target, persons, *_ in edges[:cap]:
            yield PathEdgeResponse(step, source, target, False, persons)
        rest = sum(row[3] for row in edges[cap:])
        if rest:
            yield PathEdgeResponse(step, None, None, True, rest)


def _row(row: Sequence[Any]) -> Row:
    step, source, target, *counts = row
    persons, dropped, still_open = map(int, counts)
    return int(step), str(source), str(target), persons, dropped, still_open


async def _answer(context: QueryContext, query: PathsQuery) -> PathsResponse:
    result = await context.run(edges_select(query, context.complete_until))
    rows = [_row(row) for row in zip(*result.columns, strict=True)]
    persons = None
    if query.persons is not None:
        asked = persons_select(query, query.persons, context.complete_until)
        page = (await context.run(asked)).page(query.persons.limit)
        persons = PathPersonsResponse(*page)
    return PathsResponse(
        **context.parts(incomplete=not context.is_complete(read_range(query).end)),
        paths=sum(row[3] for row in rows if row[0] == 0),
        events=events_of(rows),
        edges=list(edges_of(rows, query.edges)),
        persons=persons,
    )


PATHS: Final = QueryKind(
    SPEC,
    _answer,
    "QueryPaths",
    PathsResponse,
    (PathsQuery, PathsResponse, PathEventResponse, PathEdgeResponse, PathPersonsResponse),
    rows=lambda answer: rows_of(answer.edges),
    table=columns(step="integer", source="text", target="text", other="boolean", persons="integer"),
    closes=lambda query, _: read_range(query).end + 1_000 * query.gap_s,
)
