"""The endpoint of queries: `POST /api/projects/{project}/query/{kind}`."""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.operators.segment import SEGMENT, SegmentDefinition
from schemas.queries.query import Query
from services.query.http.describe import Json, operation
from services.query.http.forms import one_of_forms
from services.query.http.leaving import unless_left
from services.query.http.params import now_ms, project_of, read_fields
from services.query.http.routes import AnyRoute, ApiRoute, RouteGroup
from services.query.log.as_of import AsOf, parse, text_of
from services.query.operators.context import Context, earlier
from services.query.queries import QUERIES
from services.query.queries.arrivals import Arrivals
from services.query.queries.cache import CLOSED_S, OPEN_S, AnswerCache
from services.query.queries.contract import AnyQuery, QueryContext
from services.query.queries.table import answer_table
from services.query.tables.media import JSON, read_media_type, table_response
from services.query.views.catalog import Definitions
from services.query.views.changes import Key


class Queries:
    """Answers the queries of all kinds."""

    def __init__(
        self, context: Context, segments: Definitions[SegmentDefinition], cache: AnswerCache
    ) -> None:
        self._context = context
        self._segments = segments
        self._cache = cache
        self._arrivals = Arrivals(context.events, OPEN_S)

    async def answer(self, kind: AnyQuery, request: Request) -> Response:
        """Answer a query that is of this kind; a client that leaves ends it."""
        project = project_of(request)
        fields = await read_fields(request)
        self._context.definitions_view.require()
        completed = self._context.projects.with_calendar(project, fields)
        query: Query = kind.spec.decode(msgspec.json.encode(completed))
        media_type = read_media_type(request)
        if media_type == JSON:
            body = await unless_left(request, self._body(kind, project, query))
            return Response(body, media_type=JSON)
        now = now_ms()
        kind.check(query, now)
        segments = self._segments_of(project, query)
        context = await unless_left(request, self._context_of(project, query, now, segments))
        return await answer_table(request, media_type, kind, context, query)

    async def _body(self, kind: AnyQuery, project: str, query: Query) -> bytes:
        now = now_ms()
        kind.check(query, now)
        segments = self._segments_of(project, query)
        defined = ((one.id, one.version) for one in self._segments.of(project))
        key = (project, kind.spec.name, msgspec.json.encode(query), tuple(sorted(defined)))
        version = await self._closed_version(kind, project, query, now)
        if version is not None and (kept := self._cache.get((*key, version))) is not None:
            return kept
        context = await self._context_of(project, query, now, segments)
        at = tuple(sorted(context.positions.items()))
        if version is None and (kept := self._cache.get((*key, at))) is not None:
            return kept
        body = msgspec.json.encode(await kind.answer(context, query))
        if version is None:
            self._cache.put((*key, at), body, OPEN_S)
        else:
            self._cache.put((*key, version), body, CLOSED_S)
        return body

    async def _closed_version(
        self, kind: AnyQuery, project: str, query: Query, now: int
    ) -> int | None:
        """Return the version of the closed period that a query is about.

        None if events that the query selects may be missing, or if it will select others: a query
        of what persons are now, or of a range that moves with the time of day.
        """
        if kind.closes is None or query.from_ is None or query.to is None or query.as_of:
            return None
        complete, end = self._complete_until(project, now), kind.closes(query, now)
        if complete is None or end > complete or _asks_of_now(msgspec.to_builtins(query)):
            return None
        return await self._arrivals.version(project, end, complete)

    def _complete_until(self, project: str, now: int) -> int | None:
        """Return the time (ms) before which the store has all events but those that are late."""
        clock = self._context.clock(project, now)
        read_until = self._context.reading.until("store")
        complete = read_until if clock is None else earlier(clock, read_until)
        return None if complete is None else complete - self._context.lateness_ms

    async def _context_of(
        self, project: str, query: Query, now: int, segments: Mapping[str, SegmentDefinition]
    ) -> QueryContext:
        context = self._context
        complete = self._complete_until(project, now)
        if query.as_of is None:
            positions = await context.events.positions(project)
            clock = context.clock(project, now)
        else:
            positions, clock = await context.events.prefix(project, _read_as_of(query.as_of))
            complete = None if clock is None else clock - context.lateness_ms
        return QueryContext(
            events=context.events,
            project_id=project,
            positions=positions,
            now=now,
            clock=now if clock is None else clock,
            complete_until=complete,
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


def _asks_of_now(part: object) -> bool:
    """Whether a part of a query is about what persons are now: segments, or their properties."""
    match part:
        case dict():
            of_person = part.get("person") is not None and part.get("at") != "event"
            of_now = of_person or part.get("segment") is not None
            return of_now or any(map(_asks_of_now, part.values()))
        case list() | tuple():
            return any(map(_asks_of_now, part))
    return False


def _read_as_of(asked: dict[int, int] | str) -> AsOf:
    """Return the positions or the time that a query asks for; raises `InvalidRequest`."""
    return parse(asked if isinstance(asked, str) else text_of(asked))


def _route(kind: AnyQuery) -> AnyRoute:
    name = kind.spec.name
    described = operation(
        f"query{name.capitalize()}",
        kind.spec.summary,
        {"200": table_response(kind.response)},
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
