"""A prediction's results as the live WebSocket sends them."""

import datetime

import msgspec

from schemas.operators.prediction import PredictionDefinition
from services.query.operators.prediction.models import Models
from services.query.operators.prediction.promotion import ChampionResponse
from services.query.operators.prediction.response import ModelResponse, assemble
from services.query.operators.prediction.view import QuestionsView
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
    updated_at: datetime.datetime | None
    previous: "LivePrediction | None" = None


def live_prediction(
    definition: PredictionDefinition,
    previous: PredictionDefinition | None,
    questions: QuestionsView,
    models: Models,
) -> bytes:
    """Return a prediction's present results, and those of the version before, in JSON."""
    before = None if previous is None else _live(previous, None, questions, models)
    return msgspec.json.encode(_live(definition, before, questions, models))


def _live(
    definition: PredictionDefinition,
    previous: LivePrediction | None,
    questions: QuestionsView,
    models: Models,
) -> LivePrediction:
    response = assemble(definition, questions.aggregates(definition), models.of)
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
        updated_at=response.updated_at,
        previous=previous,
    )
