"""A prediction's results as the live WebSocket sends them."""

import datetime

import msgspec

from schemas.operators.prediction import PredictionDefinition
from services.query.operators.live import encode_live
from services.query.operators.prediction.bands import BandResponse
from services.query.operators.prediction.models import Models
from services.query.operators.prediction.promotion import ChampionResponse
from services.query.operators.prediction.response import (
    ModelResponse,
    PredictionResultsResponse,
    assemble,
)
from services.query.operators.prediction.scores import Scores
from services.query.operators.prediction.view import QuestionsView
from services.query.views.changes import Key
from services.query.views.progress import State


class LivePrediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction's latest results; the fields are those of `PredictionResultsResponse`."""

    id: str
    version: int
    state: State
    backfilled: float
    asked: int
    capped: int
    sampled_out: int
    late_triggers: int
    champion: ChampionResponse
    models: list[ModelResponse]
    withheld: bool
    withheld_because: str | None
    bands: list[BandResponse] | None
    complete: bool
    updated_at: datetime.datetime | None
    previous: "LivePrediction | None" = None


def live_prediction(
    definition: PredictionDefinition,
    previous: PredictionDefinition | None,
    questions: QuestionsView,
    models: Models,
    scores: Scores,
) -> bytes:
    """Return a prediction's present results, and those of the version before, in JSON."""

    def live(one: PredictionDefinition, before: LivePrediction | None) -> LivePrediction:
        counts = scores.counts(Key(one.project_id, one.id), one.version)
        response = assemble(one, questions.aggregates(one), models.of, counts=counts)
        return _live(one, before, response)

    return encode_live(definition, previous, live)


def _live(
    definition: PredictionDefinition,
    previous: LivePrediction | None,
    response: PredictionResultsResponse,
) -> LivePrediction:
    return LivePrediction(
        id=definition.id,
        version=definition.version,
        state=response.state,
        backfilled=response.backfilled,
        asked=response.asked,
        capped=response.capped,
        sampled_out=response.sampled_out,
        late_triggers=response.late_triggers,
        champion=response.champion,
        models=response.models,
        withheld=response.withheld,
        withheld_because=response.withheld_because,
        bands=response.bands,
        complete=response.complete,
        updated_at=response.updated_at,
        previous=previous,
    )
