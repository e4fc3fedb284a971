"""The endpoints of cohorts: definitions, retention grids, and the persons of a cell."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.event_filter import EventSelector
from schemas.operators.cohort import (
    COHORT,
    Cohort,
    CohortDefinition,
    decode_cohort,
)
from services.query.http.params import encode_response, now_ms, read_day, read_source
from services.query.operators.cohort.aggregates import CohortAggregates
from services.query.operators.cohort.live import live_cohort
from services.query.operators.cohort.persons import cell_statement, read_cell, read_persons
from services.query.operators.cohort.response import (
    CohortResponse,
    CohortResultsResponse,
    assemble,
    show,
)
from services.query.operators.cohort.sql import cohort_statement, read_counts
from services.query.operators.cohort.view import COHORT_RESULTS, CohortRecord, CohortResultsView
from services.query.operators.context import Context
from services.query.operators.resource import ResourceSpec
from services.query.tables.media import JSON, read_media_type
from services.query.tables.persons import answer_persons
from services.query.verify.resource import Moment, VerifiedResource


class CohortListResponse(msgspec.Struct, frozen=True):
    """Some of a project's cohorts, by id; `next` is the next page's `after`, null at the end."""

    cohorts: list[CohortResponse]
    next: str | None


def _define(parts: dict[str, Any], cohort: Cohort) -> CohortDefinition:
    return CohortDefinition(**parts, cohort=cohort)


_SPEC: Final = ResourceSpec(COHORT, decode_cohort, _define, show, CohortListResponse)


class Cohorts(VerifiedResource[Cohort, CohortDefinition, CohortRecord]):
    """The endpoints under `/api/projects/{project}/cohorts`."""

    def __init__(self, context: Context) -> None:
        self._results = CohortResultsView(context.partitions)
        super().__init__(_SPEC, COHORT_RESULTS, self._results, context)
        self._events = context.events
        self._projects = context.projects

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Add the project's time zone and start of the week to a cohort that names none."""
        return self._projects.with_calendar(project, fields)

    def live_state(self, definition: CohortDefinition) -> bytes:
        """Return a `LiveCohort` in JSON."""
        return live_cohort(definition, self.previous(definition), self._results)

    async def results(self, request: Request) -> Response:
        """Show a cohort's grid, of the stream or counted now in ClickHouse."""
        source = read_source(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        definition = self.find(request)
        if source == "store":
            prefix = await self.context.prefix(request, definition.project_id)
            counts = await self.count(definition, prefix and prefix.positions)
            complete = self.context.complete_until(definition.project_id, source, prefix=prefix)
            return encode_response(
                assemble(definition, source, counts, first, last, None, complete)
            )
        self.results_view.require()

        def respond(
            one: CohortDefinition, previous: CohortResultsResponse | None
        ) -> CohortResultsResponse:
            counts = self._results.aggregates(one)
            complete = self.context.complete_until(one.project_id, source, counts.status.state)
            return assemble(one, source, counts, first, last, previous, complete)

        return encode_response(self.with_previous(definition, respond))

    async def persons(self, request: Request) -> Response:
        """Show the persons who are counted in a cell of the grid, from ClickHouse."""
        definition = self.find(request)
        cell = read_cell(request, definition)
        media_type = read_media_type(request)
        prefix = await self.context.prefix(request, definition.project_id)
        positions = prefix and prefix.positions
        if media_type != JSON:
            everyone = cell._replace(limit=None)
            return await answer_persons(
                *(request, media_type, self._events, definition.project_id),
                lambda source: cell_statement(source, definition, everyone),
                positions,
            )
        result = await self._events.query(
            definition.project_id,
            lambda source: cell_statement(source, definition, cell),
            positions,
        )
        complete = self.context.complete_until(definition.project_id, "store", prefix=prefix)
        return encode_response(read_persons(cell, result, complete))

    def selectors(self, definition: CohortDefinition) -> Sequence[EventSelector]:
        """Return what selects the events that a cohort counts."""
        return definition.cohort.start, definition.cohort.returning

    def on_stream(self, definition: CohortDefinition, moment: Moment) -> CohortResultsResponse:  # noqa: ARG002 (no figure depends on it)
        """Return the response with the stream's figures."""
        return assemble(definition, "stream", self._results.aggregates(definition))

    async def in_store(
        self,
        definition: CohortDefinition,
        moment: Moment,  # noqa: ARG002 (no figure depends on it)
        positions: Mapping[int, int],
    ) -> CohortResultsResponse:
        """Return the response with ClickHouse's figures of the events below some positions."""
        return assemble(definition, "store", await self.count(definition, positions))

    async def count(
        self, definition: CohortDefinition, positions: Mapping[int, int] | None = None
    ) -> CohortAggregates:
        """Count a cohort in ClickHouse, over the events below some positions."""
        result = await self._events.query(
            definition.project_id,
            lambda source: cohort_statement(source, definition),
            positions,
        )
        return read_counts(definition, result, now_ms())
