"""Predictions, as they are registered on the query side."""

from typing import Final

from schemas.operators.prediction import PREDICTION as SPEC
from schemas.operators.prediction import Prediction
from services.query.operators.contract import Endpoint, LiveSpec, QueryOperator
from services.query.operators.prediction.live import LivePrediction
from services.query.operators.prediction.openapi import PERSON, PERSONS, PROMOTE, RESULTS, refine
from services.query.operators.prediction.persons import (
    PredictionPersonResponse,
    PredictionPersonsResponse,
)
from services.query.operators.prediction.promotion import PromoteRequest
from services.query.operators.prediction.resource import PredictionListResponse, Predictions
from services.query.operators.prediction.response import (
    PredictionResponse,
    PredictionResultsResponse,
)
from services.query.operators.prediction.view import PREDICTION_QUESTIONS

PREDICTION: Final = QueryOperator(
    spec=SPEC,
    resource=Predictions,
    aggregates=PREDICTION_QUESTIONS,
    results=RESULTS,
    request=Prediction,
    response=PredictionResponse,
    list_response=PredictionListResponse,
    types=(
        PromoteRequest,
        PredictionResultsResponse,
        PredictionPersonsResponse,
        PredictionPersonResponse,
        LivePrediction,
    ),
    endpoints=(
        Endpoint("persons", Predictions.persons, PERSONS, "ListPredictionPersons"),
        Endpoint("persons/{person}", Predictions.person, PERSON, "GetPredictionPerson"),
        Endpoint("promote", Predictions.promote, PROMOTE, "PromotePredictionModel", method="POST"),
    ),
    live=LiveSpec(Predictions.live_state),
    refine=refine,
)
