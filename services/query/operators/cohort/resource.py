"""The cohorts over HTTP: what they are, and their retention grids."""

import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.operators.cohort import (
    MAX_COHORTS_PER_PROJECT,
    Cohort,
    CohortDefinition,
    decode_cohort,
    encode,
)
from services.commands import Commands
from services.query.clickhouse.conditions import check_names
from services.query.clickhouse.queries import EventStore
from services.query.http.params import json_answer, now_ms, read_day, read_source
from services.query.http.resource import DefinitionResource, ResourceSpec
from services.query.operators.cohort.persons import cell_statement, read_cell, read_persons
from services.query.operators.cohort.response import CohortAnswer, CohortResults, assemble, show
from services.query.operators.cohort.sql import cohort_statement, read_counts
from services.query.operators.cohort.view import Results
from services.query.projects.settings import Projects
from services.query.views.catalog import Definitions
from services.topic_view import TopicView


class CohortPage(msgspec.Struct, frozen=True):
    """Some of a project's cohorts, by id; `next` is the next page's `after`, null at the end."""

    cohorts: list[CohortAnswer]
    next: str | None


def _read(body: bytes) -> Cohort:
    cohort = decode_cohort(body)
    check_names(cohort.start.where, "start.where")
    check_names(cohort.returning.where, "return.where")
    return cohort


def _define(parts: dict[str, Any], cohort: Cohort) -> CohortDefinition:
    return CohortDefinition(**parts, cohort=cohort)


COHORT = ResourceSpec("cohort", MAX_COHORTS_PER_PROJECT, _read, _define, encode, show, CohortPage)


class Cohorts(DefinitionResource[Cohort, CohortDefinition]):
    """The endpoints under `/api/projects/{project}/cohorts`."""

    def __init__(
        self,
        definitions: Definitions[CohortDefinition],
        view: TopicView[Any],
        results: Results,
        results_view: TopicView[Any],
        commands: Commands,
        store: EventStore,
        projects: Projects,
    ) -> None:
        super().__init__(COHORT, definitions, view, results, results_view, commands)
        self._results = results
        self._results_view = results_view
        self._store = store
        self._projects = projects

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """With the project's time zone, if it names none."""
        return self._projects.completed(project, fields)

    async def results(self, request: Request) -> Response:
        """Show a cohort's grid, as the stream has it or counted anew in ClickHouse."""
        source = read_source(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        definition = self.find(request)
        answer: CohortResults
        if source == "stream":
            self._results_view.require()
            answer = assemble(definition, "stream", self._results.figures(definition), first, last)
        else:
            asked = await self._store.ask(
                definition.project_id, lambda database: cohort_statement(database, definition)
            )
            counted = read_counts(definition, asked, now_ms())
            answer = assemble(definition, "store", counted, first, last)
        return json_answer(answer)

    async def persons(self, request: Request) -> Response:
        """Show who is counted in a cell of the grid, as ClickHouse has them."""
        definition = self.find(request)
        cell = read_cell(request, definition)
        answer = await self._store.ask(
            definition.project_id, lambda database: cell_statement(database, definition, cell)
        )
        return json_answer(read_persons(cell, answer))
