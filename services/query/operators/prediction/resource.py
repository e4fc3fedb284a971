"""The endpoints of predictions: definitions, results with the models' quality, and scores."""

import asyncio
import datetime
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import Conflict, InvalidRequest
from schemas.operators.prediction import (
    PREDICTION,
    Prediction,
    PredictionDefinition,
    decode_prediction,
    promoted,
    succeeding,
)
from schemas.operators.segment import SegmentDefinition, asking_for
from services.commands import Write
from services.query.http.params import (
    encode_response,
    key_of,
    now_ms,
    read_day,
    read_expected,
    read_fields,
)
from services.query.operators.context import Context
from services.query.operators.prediction.live import live_prediction
from services.query.operators.prediction.models import PREDICTION_MODELS, Models, ModelState
from services.query.operators.prediction.persons import (
    PredictionPersonResponse,
    PredictionPersonsResponse,
    person_response,
    persons_response,
    read_scores_query,
    read_verdict,
    shows_withheld,
)
from services.query.operators.prediction.promotion import read_model, trouble
from services.query.operators.prediction.response import (
    PredictionResponse,
    PredictionResultsResponse,
    assemble,
    show,
)
from services.query.operators.prediction.scores import (
    PREDICTION_SCORES,
    PackedScore,
    ScorePage,
    Scores,
)
from services.query.operators.prediction.view import (
    PREDICTION_QUESTIONS,
    QuestionsRecord,
    QuestionsView,
)
from services.query.operators.resource import DefinitionResource, ResourceSpec
from services.query.views.catalog import Definitions
from services.query.views.changes import Change, Key
from services.query.views.reader import Update

_NOBODY: Final = ScorePage([], more=False)


class PredictionListResponse(msgspec.Struct, frozen=True):
    """A page of a project's predictions, by id; `next` is the next page's `after`, or null."""

    predictions: list[PredictionResponse]
    next: str | None


def _define(parts: dict[str, Any], prediction: Prediction) -> PredictionDefinition:
    promoted = 0 if prediction.champion is None else parts["revision"]
    return PredictionDefinition(**parts, prediction=prediction, promoted=promoted)


class Predictions(DefinitionResource[Prediction, PredictionDefinition, QuestionsRecord]):
    """The endpoints under `/api/projects/{project}/predictions`."""

    def __init__(self, context: Context) -> None:
        self._questions = QuestionsView(context.partitions)
        self._segments = Definitions[SegmentDefinition](SegmentDefinition.KIND)
        self._models = Models()
        spec = ResourceSpec(
            PREDICTION, decode_prediction, _define, self._show, PredictionListResponse
        )
        super().__init__(spec, PREDICTION_QUESTIONS, self._questions, context)
        self._person_key = context.person_key
        self._models_view = context.follow(PREDICTION_MODELS, self._apply_models)
        self._scores = Scores()
        self._scores_view = context.follow(PREDICTION_SCORES, self._apply_scores)

    def _show(self, definition: PredictionDefinition) -> PredictionResponse:
        return show(definition, trouble(definition, self._models.of))

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        # A definition may be sent back as it is shown.
        shown = {"withheld", "withheld_because"}
        return super()._completed(
            project, {name: raw for name, raw in fields.items() if name not in shown}
        )

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes of definitions, in the topic's order."""
        self._segments.apply(changes)
        super().apply(changes)

    def _check_unused(self, definition: PredictionDefinition) -> None:
        asking = asking_for(self._segments.of(definition.project_id), definition.id)
        if asking:
            raise Conflict(f"segments ask for scores of {definition.id}: {', '.join(asking)}")

    def _apply_models(self, updates: Sequence[Update[ModelState]]) -> None:
        self._models.apply(updates)
        if self.live is not None:
            states = (update.record for update in updates if update.record is not None)
            self.live.changed(Key(*state.version_key[:2]) for state in states)

    def _apply_scores(self, updates: Sequence[Update[PackedScore]]) -> None:
        self._scores.apply(updates)
        if self.live is not None:
            records = (update.record for update in updates if update.record is not None)
            self.live.changed(Key(*record.version_key[:2]) for record in records)

    def live_state(self, definition: PredictionDefinition) -> bytes:
        """Return a `LivePrediction` in JSON."""
        previous = self.previous(definition)
        return live_prediction(definition, previous, self._questions, self._models, self._scores)

    def _succeed(
        self, before: PredictionDefinition, after: PredictionDefinition
    ) -> PredictionDefinition:
        return succeeding(before, super()._succeed(before, after))

    def _resolved(self, definition: PredictionDefinition) -> PredictionDefinition:
        return msgspec.structs.replace(definition, person_key=self._person_key)

    async def promote(self, request: Request) -> Response:
        """Make a model the champion, in place: nothing is learned again."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, fields)
        model = read_model(fields)
        self._view.require()

        def decide() -> Write[PredictionDefinition]:
            before = self.definitions.get(key)
            expected.check(key.id, self.definitions.numbers(key))
            return self._write(promoted(before, model, now_ms()))

        return self._respond(await self._commands.change(decide))

    async def results(self, request: Request) -> Response:
        """Show what a prediction has asked, how good its models are, and its bands of scores."""
        _refuse_store(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        shown = shows_withheld(request)
        definition = self._find_scored(request)
        key = Key(definition.project_id, definition.id)

        def respond(
            one: PredictionDefinition, previous: PredictionResultsResponse | None
        ) -> PredictionResultsResponse:
            asked, counts = self._questions.aggregates(one), self._scores.counts(key, one.version)
            return assemble(
                one,
                asked,
                self._models.of,
                first,
                last,
                previous,
                counts=counts,
                show_withheld=shown,
            )

        return encode_response(self.with_previous(definition, respond))

    async def persons(self, request: Request) -> Response:
        """Show a page of the persons with the highest or lowest scores."""
        query = read_scores_query(request)
        definition = self._find_scored(request)
        held = self._scores.of(Key(definition.project_id, definition.id))

        async def respond(
            one: PredictionDefinition, previous: PredictionPersonsResponse | None
        ) -> PredictionPersonsResponse:
            verdict = read_verdict(request, trouble(one, self._models.of))
            state = self._questions.status(one).state
            page = _NOBODY
            if not verdict.withheld:
                page = await asyncio.to_thread(held.page, one.version, *query)
            return persons_response(
                one, state, query, verdict, page, complete=held.complete, previous=previous
            )

        before = self.previous(definition)
        previous = None if before is None else await respond(before, None)
        return encode_response(await respond(definition, previous))

    async def person(self, request: Request) -> Response:
        """Show what a prediction last said of one person."""
        person: str = request.path_params["person"]
        if not person:
            raise InvalidRequest("is required", "person")
        definition = self._find_scored(request)
        key = Key(definition.project_id, definition.id)
        score = self._scores.person(key, person)

        def respond(
            one: PredictionDefinition, previous: PredictionPersonResponse | None
        ) -> PredictionPersonResponse:
            return person_response(
                one,
                self._questions.status(one).state,
                person,
                read_verdict(request, trouble(one, self._models.of)),
                score,
                complete=self._scores.is_complete(key),
                previous=previous,
            )

        return encode_response(self.with_previous(definition, respond))

    def _find_scored(self, request: Request) -> PredictionDefinition:
        definition = self.find(request)
        for view in (self.results_view, self._models_view, self._scores_view):
            view.require()
        return definition


def _refuse_store(request: Request) -> None:
    """Raise `InvalidRequest` unless the stream is asked.

    ClickHouse has the events, but not what the models were when they came.
    """
    source = request.query_params.get("source", "stream")
    if source == "store":
        raise InvalidRequest(
            "predictions are kept on the stream only: accepted is `stream`", "source"
        )
    if source != "stream":
        raise InvalidRequest("accepted is `stream`", "source")
