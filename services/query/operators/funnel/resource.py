"""The endpoints of funnels: definitions, results, times and persons."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.event_filter import EventSelector
from schemas.operators.funnel import (
    FUNNEL,
    Funnel,
    FunnelDefinition,
    decode_funnel,
)
from services.query.clickhouse.events import Spans
from services.query.clickhouse.queries import AskedPrefix
from services.query.http.params import (
    DEFAULT_PAGE,
    MAX_PAGE,
    encode_response,
    now_ms,
    read_choice,
    read_day,
    read_moment,
    read_number,
    read_source,
)
from services.query.operators.context import Context
from services.query.operators.funnel.aggregates import FunnelAggregates
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from services.query.operators.funnel.comparison import (
    FIRST,
    LAST,
    MAX_SPAN_S,
    at_age,
    choose,
    respond,
)
from services.query.operators.funnel.live import live_funnel
from services.query.operators.funnel.persons import (
    persons_statement,
    read_persons,
    read_persons_query,
)
from services.query.operators.funnel.response import (
    PERIODS,
    FunnelResponse,
    FunnelResultsResponse,
    assemble,
    show,
)
from services.query.operators.funnel.sql import funnel_statement, read_counts
from services.query.operators.funnel.times import (
    DEFAULT_BINS,
    MAX_BINS,
    FunnelTimesResponse,
    histogram,
)
from services.query.operators.funnel.view import FUNNEL_RESULTS, FunnelRecord, FunnelResultsView
from services.query.operators.resource import ResourceSpec
from services.query.tables.media import JSON, read_media_type
from services.query.tables.persons import answer_persons
from services.query.trace.endpoint import read_place, trace_person
from services.query.verify.resource import Moment, VerifiedResource


class FunnelListResponse(msgspec.Struct, frozen=True):
    """Some of a project's funnels, by id; `next` is the next page's `after`, null at the end."""

    funnels: list[FunnelResponse]
    next: str | None


def _define(parts: dict[str, Any], funnel: Funnel) -> FunnelDefinition:
    return FunnelDefinition(**parts, funnel=funnel)


_SPEC: Final = ResourceSpec(FUNNEL, decode_funnel, _define, show, FunnelListResponse)


class Funnels(VerifiedResource[Funnel, FunnelDefinition, FunnelRecord]):
    """The endpoints under `/api/projects/{project}/funnels`."""

    def __init__(self, context: Context) -> None:
        self._results = FunnelResultsView(context.partitions)
        super().__init__(_SPEC, FUNNEL_RESULTS, self._results, context)
        self._events = context.events
        self._projects = context.projects

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Add the project's time zone and start of the week to a funnel that names none."""
        return self._projects.with_calendar(project, fields)

    def live_state(self, definition: FunnelDefinition) -> bytes:
        """Return a `LiveFunnel` in JSON."""
        return live_funnel(definition, self.previous(definition), self._results)

    async def results(self, request: Request) -> Response:
        """Show a funnel's results, of the stream or counted now in ClickHouse."""
        source, period = read_source(request), read_choice(request, "period", PERIODS)
        first, last = _read_days(request)
        definition = self.find(request)
        if source == "store":
            prefix, counts = await self._count(request, definition, first, last)
            complete = self.context.complete_until(definition.project_id, source, prefix=prefix)
            return encode_response(
                assemble(definition, source, counts, first, last, period, None, complete)
            )
        self.results_view.require()

        def respond(
            one: FunnelDefinition, previous: FunnelResultsResponse | None
        ) -> FunnelResultsResponse:
            counts = self._results.aggregates(one)
            complete = self._complete_until(one, counts)
            return assemble(one, source, counts, first, last, period, previous, complete)

        return encode_response(self.with_previous(definition, respond))

    async def times(self, request: Request) -> Response:
        """Show how long persons took to a step, by the stream or counted now in ClickHouse."""
        source = read_source(request)
        bins = read_number(request, "bins", 1, MAX_BINS, DEFAULT_BINS)
        first, last = _read_days(request)
        definition = self.find(request)
        steps = len(definition.funnel.steps)
        step = read_number(request, "step", 2, steps, steps)
        if source == "store":
            prefix, counts = await self._count(request, definition, first, last)
            complete = self.context.complete_until(definition.project_id, source, prefix=prefix)
            return encode_response(
                histogram(counts, source, step, bins, first, last, None, complete)
            )
        self.results_view.require()

        def respond(
            one: FunnelDefinition, previous: FunnelTimesResponse | None = None
        ) -> FunnelTimesResponse:
            aggregates = self._results.aggregates(one)
            complete = self._complete_until(one, aggregates)
            return histogram(aggregates, source, step, bins, first, last, previous, complete)

        before = self.previous(definition)
        if before is None or step > len(before.funnel.steps):
            return encode_response(respond(definition))
        return encode_response(respond(definition, respond(before)))

    async def compare(self, request: Request) -> Response:
        """Show who entered before and after a moment, at equal age, from ClickHouse."""
        at = read_moment(request, "at")
        if at is None:
            raise InvalidRequest("is required: a moment, such as that of an annotation", "at")
        span_s, age_s = (_read_seconds(request, name) for name in ("span_s", "age_s"))
        definition = self.find(request)
        prefix = await self.context.prefix(request, definition.project_id)
        clock = self.context.clock(definition.project_id, now_ms()) if prefix is None else None
        now = now_ms() if clock is None else clock
        if prefix is not None:
            now = at if prefix.clock is None else prefix.clock
        asked = choose(definition.funnel.window_s, at, now, span_s, age_s)
        aged = at_age(definition, asked.age_s)
        counts = await self.count(aged, FIRST, LAST, prefix and prefix.positions, asked.spans)
        complete = self.context.complete_until(definition.project_id, "store", prefix=prefix)
        return encode_response(respond(definition, asked, counts, complete))

    async def persons(self, request: Request) -> Response:
        """Show who reached a step, or dropped out before it, from ClickHouse."""
        definition = self.find(request)
        query = read_persons_query(request, definition)
        media_type = read_media_type(request)
        prefix = await self.context.prefix(request, definition.project_id)
        positions = prefix and prefix.positions
        if media_type != JSON:
            everyone = query._replace(limit=None)
            return await answer_persons(
                *(request, media_type, self._events, definition.project_id),
                lambda source: persons_statement(source, definition, everyone),
                positions,
            )
        result = await self._events.query(
            definition.project_id,
            lambda source: persons_statement(source, definition, query),
            positions,
        )
        complete = self.context.complete_until(definition.project_id, "store", prefix=prefix)
        return encode_response(read_persons(query, result, complete))

    async def trace(self, request: Request) -> Response:
        """Show what each event of a person did in a funnel, from ClickHouse."""
        after = read_place(request)
        limit = read_number(request, "limit", 1, MAX_PAGE, DEFAULT_PAGE)
        definition = self.find(request)
        return encode_response(await trace_person(self.context, request, definition, after, limit))

    def selectors(self, definition: FunnelDefinition) -> Sequence[EventSelector] | None:
        """Return what selects the events that a funnel counts; None for a strict one."""
        funnel = definition.funnel
        return None if funnel.order == "strict" else (*funnel.steps, *funnel.exclusions)

    def on_stream(self, definition: FunnelDefinition, moment: Moment) -> FunnelResultsResponse:  # noqa: ARG002 (no figure depends on it)
        """Return the response with the stream's figures."""
        return assemble(definition, "stream", self._results.aggregates(definition))

    async def in_store(
        self,
        definition: FunnelDefinition,
        moment: Moment,  # noqa: ARG002 (no figure depends on it)
        positions: Mapping[int, int],
    ) -> FunnelResultsResponse:
        """Return the response with ClickHouse's figures of the events below some positions."""
        return assemble(definition, "store", await self.count(definition, positions=positions))

    def _complete_until(
        self, definition: FunnelDefinition, counts: FunnelAggregates
    ) -> datetime.datetime | None:
        return self.context.complete_until(definition.project_id, "stream", counts.status.state)

    async def _count(
        self,
        request: Request,
        definition: FunnelDefinition,
        first: datetime.date,
        last: datetime.date,
    ) -> tuple[AskedPrefix | None, FunnelAggregates]:
        """Count a funnel in ClickHouse, over the prefix of the log that the request asks for."""
        prefix = await self.context.prefix(request, definition.project_id)
        counts = await self.count(definition, first, last, prefix and prefix.positions)
        return prefix, counts

    async def count(
        self,
        definition: FunnelDefinition,
        first: datetime.date = datetime.date.min,
        last: datetime.date = datetime.date.max,
        positions: Mapping[int, int] | None = None,
        spans: Spans | None = None,
    ) -> FunnelAggregates:
        """Count a funnel in ClickHouse, over the events below some positions.

        With `spans`, entries are counted by those in place of days.
        """
        statement, read = (
            (funnel_statement, read_counts)
            if definition.funnel.plain
            else (chain_statement, read_chain_counts)
        )
        result = await self._events.query(
            definition.project_id,
            lambda source: statement(source, definition, first, last, spans),
            positions,
        )
        return read(definition, result, now_ms())


def _read_days(request: Request) -> tuple[datetime.date, datetime.date]:
    first = read_day(request, "from", datetime.date.min)
    return first, read_day(request, "to", datetime.date.max)


def _read_seconds(request: Request, name: str) -> int | None:
    if name not in request.query_params:
        return None
    return read_number(request, name, 1, MAX_SPAN_S, 1)
