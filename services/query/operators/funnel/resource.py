"""The funnels over HTTP: what they are, and their figures."""

import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.operators.funnel import (
    MAX_FUNNELS_PER_PROJECT,
    Funnel,
    FunnelDefinition,
    decode_funnel,
    encode,
)
from schemas.time.calendar import Period
from services.commands import Commands
from services.query.clickhouse.conditions import check_name, check_names
from services.query.clickhouse.queries import EventStore
from services.query.http.params import Source, json_answer, now_ms, read_day, read_source
from services.query.http.resource import DefinitionResource, ResourceSpec
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from services.query.operators.funnel.persons import (
    persons_statement,
    read_asked,
    read_persons,
    read_step,
)
from services.query.operators.funnel.response import Counted, FunnelAnswer, assemble, show
from services.query.operators.funnel.sql import funnel_statement, read_counts
from services.query.operators.funnel.times import DEFAULT_BINS, MAX_BINS, histogram
from services.query.operators.funnel.view import Results
from services.query.views.catalog import Definitions
from services.topic_view import TopicView


class FunnelPage(msgspec.Struct, frozen=True):
    """Some of a project's funnels, by id; `next` is the next page's `after`, null at the end."""

    funnels: list[FunnelAnswer]
    next: str | None


def _read(body: bytes) -> Funnel:
    funnel = decode_funnel(body)
    for number, step in enumerate(funnel.steps):
        check_names(step.where, f"steps[{number}].where")
    for number, exclusion in enumerate(funnel.exclusions):
        check_names(exclusion.where, f"exclusions[{number}].where")
    for number, name in enumerate(funnel.hold_constant):
        check_name(name, f"hold_constant[{number}]")
    if funnel.breakdown:
        check_name(funnel.breakdown.property, "breakdown.property")
    return funnel


def _define(parts: dict[str, Any], funnel: Funnel) -> FunnelDefinition:
    return FunnelDefinition(**parts, funnel=funnel)


FUNNEL = ResourceSpec("funnel", MAX_FUNNELS_PER_PROJECT, _read, _define, encode, show, FunnelPage)


class Funnels(DefinitionResource[Funnel, FunnelDefinition]):
    """The endpoints under `/api/projects/{project}/funnels`."""

    def __init__(
        self,
        definitions: Definitions[FunnelDefinition],
        view: TopicView[Any],
        results: Results,
        results_view: TopicView[Any],
        commands: Commands,
        store: EventStore,
    ) -> None:
        super().__init__(FUNNEL, definitions, view, results, results_view, commands)
        self._results = results
        self._results_view = results_view
        self._store = store

    async def results(self, request: Request) -> Response:
        """Show a funnel's figures, as the stream has them or counted anew in ClickHouse."""
        source, period = read_source(request), _read_period(request)
        first, last = _read_days(request)
        definition = self.find(request)
        counted = await self._counted(definition, source, first, last)
        return json_answer(assemble(definition, source, counted, first, last, period))

    async def times(self, request: Request) -> Response:
        """Show how long persons took to a step."""
        source, bins = read_source(request), _read_bins(request)
        first, last = _read_days(request)
        definition = self.find(request)
        step = read_step(request, 2, len(definition.funnel.steps))
        counted = await self._counted(definition, source, first, last)
        return json_answer(histogram(counted, source, step, bins, first, last))

    async def persons(self, request: Request) -> Response:
        """Show who reached a step, or dropped out before it, as ClickHouse has them."""
        definition = self.find(request)
        asked = read_asked(request, definition)
        answer = await self._store.ask(
            definition.project_id,
            lambda database: persons_statement(database, definition, asked),
        )
        return json_answer(read_persons(asked, answer))

    async def _counted(
        self,
        definition: FunnelDefinition,
        source: Source,
        first: datetime.date,
        last: datetime.date,
    ) -> Counted:
        if source == "stream":
            self._results_view.require()
            return self._results.figures(definition)
        statement, read = (
            (funnel_statement, read_counts)
            if definition.funnel.plain
            else (chain_statement, read_chain_counts)
        )
        asked = await self._store.ask(
            definition.project_id,
            lambda database: statement(database, definition, first, last),
        )
        return read(definition, asked, now_ms())


def _read_days(request: Request) -> tuple[datetime.date, datetime.date]:
    first = read_day(request, "from", datetime.date.min)
    return first, read_day(request, "to", datetime.date.max)


def _read_period(request: Request) -> Period:
    try:
        period: Period = msgspec.convert(request.query_params.get("period", "day"), Period)
    except msgspec.ValidationError:
        raise InvalidRequest("accepted are `day`, `week` and `month`", "period") from None
    return period


def _read_bins(request: Request) -> int:
    text = request.query_params.get("bins", str(DEFAULT_BINS))
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_BINS:
        return int(text)
    raise InvalidRequest(f"accepted are 1 to {MAX_BINS}", "bins")
