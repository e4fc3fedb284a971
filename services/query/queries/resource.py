"""The endpoint of queries: `POST /api/projects/{project}/query/{kind}`."""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.operators.segment import SEGMENT, SegmentDefinition
from schemas.queries.query import Query
from services.query.http.describe import Json, json_response, operation
from services.query.http.forms import one_of_forms
from services.query.http.params import encode_response, now_ms, project_of, read_fields
from services.query.http.routes import AnyRoute, ApiRoute, RouteGroup
from services.query.log.as_of import AsOf, parse, text_of
from services.query.operators.context import Context, earlier
from services.query.queries import QUERIES
from services.query.queries.contract import AnyQuery, QueryContext
from services.query.views.catalog import Definitions
from services.query.views.changes import Key


class Queries:
    """Answers the queries of all kinds."""

    def __init__(self, context: Context, segments: Definitions[SegmentDefinition]) -> None:
        self._context = context
        self._segments = segments

    async def answer(self, kind: AnyQuery, request: Request) -> Response:
        """Answer a query that is of this kind."""
        project = project_of(request)
        fields = await read_fields(request)
        self._context.definitions_view.require()
        completed = self._context.projects.with_calendar(project, fields)
        query: Query = kind.spec.decode(msgspec.json.encode(completed))
        now = now_ms()
        kind.check(query, now)
        context = await self._context_of(project, query, now)
        return encode_response(await kind.answer(context, query))

    async def _context_of(self, project: str, query: Query, now: int) -> QueryContext:
        context = self._context
        segments = self._segments_of(project, query)
        clock = context.clock(project, now)
        read_until = context.reading.until("store")
        complete = read_until if clock is None else earlier(clock, read_until)
        if query.as_of is None:
            positions = await context.events.positions(project)
        else:
            positions, clock = await context.events.prefix(project, _read_as_of(query.as_of))
            complete = clock
        return QueryContext(
            events=context.events,
            project_id=project,
            positions=positions,
            now=now,
            clock=now if clock is None else clock,
            complete_until=None if complete is None else complete - context.lateness_ms,
            segments=segments,
            project_segments=self._segments.of(project),
        )

    def _segments_of(self, project: str, query: Query) -> Mapping[str, SegmentDefinition]:
        found = {}
        for name, path in ((one.segment, one.path) for one in query.references()):
            segment = self._segments.find(Key(project, name))
            if segment is None:
                raise InvalidRequest(f"there is no {SEGMENT.name} {name!r}", path)
            found[name] = segment
        return found


def _read_as_of(asked: dict[int, int] | str) -> AsOf:
    """Return the positions or the time that a query asks for; raises `InvalidRequest`."""
    return parse(asked if isinstance(asked, str) else text_of(asked))


def _route(kind: AnyQuery) -> AnyRoute:
    name = kind.spec.name
    described = operation(
        f"query{name.capitalize()}",
        kind.spec.summary,
        {"200": json_response(kind.response)},
        *(*kind.errors, 413),
        body=kind.spec.request.__name__,
    )

    async def handle(queries: Queries, request: Request) -> Response:
        return await queries.answer(kind, request)

    return ApiRoute("POST", f"/query/{name}", handle, described, kind.rpc, scope="read")


def refine(schemas: Json) -> None:
    """Add to the document's schemas what the types of queries cannot express."""
    forms: dict[str, tuple[str, ...]] = {
        "property": ("op", "value"),
        **dict.fromkeys(("person", "segment", "and", "or", "not"), ()),
    }
    schemas["QueryFilter"] = one_of_forms(schemas["QueryFilter"], forms)
    for kind in QUERIES:
        kind.refine(schemas)


QUERY_ROUTES: Final = RouteGroup(
    tuple(map(_route, QUERIES)), tuple({one: None for kind in QUERIES for one in kind.types})
)
