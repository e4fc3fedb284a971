"""The funnels over HTTP: what they are, and their figures."""

import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import (
    MAX_FUNNELS_PER_PROJECT,
    Funnel,
    FunnelDefinition,
    decode_funnel,
    encode,
)
from services.commands import Commands
from services.following import Following
from services.query.changing import Changing, Definable
from services.query.condition_sql import check_names
from services.query.definitions import Definitions
from services.query.event_store import EventStore
from services.query.funnel_figures import FunnelAnswer, FunnelResults, assemble, show
from services.query.funnel_results import Results
from services.query.funnel_sql import funnel_statement, read_counts
from services.query.requests import json_answer, now_ms, read_day, read_source


class FunnelPage(msgspec.Struct, frozen=True):
    """Some of a project's funnels, by id; `next` is the next page's `after`, null at the end."""

    funnels: list[FunnelAnswer]
    next: str | None


def _read(body: bytes) -> Funnel:
    funnel = decode_funnel(body)
    for number, step in enumerate(funnel.steps):
        check_names(step.where, f"steps[{number}].where")
    return funnel


def _define(parts: dict[str, Any], funnel: Funnel) -> FunnelDefinition:
    return FunnelDefinition(**parts, funnel=funnel)


FUNNEL = Definable("funnel", MAX_FUNNELS_PER_PROJECT, _read, _define, encode, show, FunnelPage)


class Funnels(Changing[Funnel, FunnelDefinition]):
    """The endpoints under `/api/projects/{project}/funnels`."""

    def __init__(
        self,
        definitions: Definitions[FunnelDefinition],
        view: Following[Any],
        results: Results,
        results_view: Following[Any],
        commands: Commands,
        store: EventStore,
    ) -> None:
        super().__init__(FUNNEL, definitions, view, commands)
        self._results = results
        self._results_view = results_view
        self._store = store

    async def results(self, request: Request) -> Response:
        """Show a funnel's figures, as the stream has them or counted anew in ClickHouse."""
        source = read_source(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        definition = self.find(request)
        answer: FunnelResults
        if source == "stream":
            self._results_view.require()
            answer = assemble(definition, "stream", self._results.figures(definition), first, last)
        else:
            asked = await self._store.ask(
                definition.project_id,
                lambda database: funnel_statement(database, definition, first, last),
            )
            counted = read_counts(definition, asked, now_ms())
            answer = assemble(definition, "store", counted, first, last)
        return json_answer(answer)
