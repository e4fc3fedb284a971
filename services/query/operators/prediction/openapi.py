"""The descriptions of the endpoints that only predictions have."""

from typing import Any, Final

from services.query.http.describe import (
    IF_MATCH,
    Json,
    choice,
    day_parameters,
    decimal,
    json_response,
    number,
    operation,
    parameter,
    tagged_response,
)
from services.query.http.params import DEFAULT_PAGE, MAX_PAGE
from services.query.operators.prediction.persons import (
    WITHHELD,
    PredictionPersonResponse,
    PredictionPersonsResponse,
)
from services.query.operators.prediction.response import (
    PredictionResponse,
    PredictionResultsResponse,
)
from services.query.operators.prediction.scores import ORDERS

DEFINITION_EXAMPLE: Final[Json] = {
    "goal": {"event": "purchase"},
    "within_s": 1_800,
    "at": {"event": "product_view"},
    "events": [{"event": "add_to_cart"}],
    "challengers": [{"kind": "logistic_adagrad"}, {"kind": "base_rate"}],
}
_SCORE: Final[Json] = {
    "score": 0.731,
    "at": "2026-11-22T10:00:00Z",
    "model": "logistic_sgd_0.003",
    "model_version": 48_210,
}
_QUALITY: Final[Json] = {
    "examples": 10_000,
    "positives": 1_127,
    "log_loss": 0.302,
    "base_log_loss": 0.350,
    "roc_auc": 0.772,
    "pr_auc": 0.391,
    "calibration": [
        {"from": 0.0, "to": 0.1, "examples": 6_204, "mean_score": 0.049, "rate": 0.047}
    ],
    "calibration_error": 0.008,
}


def _with_example(response: Json, example: Json) -> Json:
    (media_type,) = response["content"]
    response["content"][media_type]["example"] = example
    return response


def _shared(**more: Any) -> Json:
    return {"id": "buys-soon", "version": 1, "state": "live", **more, "previous": None}


_SHOWN: Final = choice(
    "withheld",
    WITHHELD,
    "`hide`: no scores of a model that is not better than its base rate. `show`: these, too.",
)
RESULTS: Final = operation(
    "readPredictionResults",
    "What a prediction has asked, how good its models are, and how many persons have which scores",
    {"200": json_response(PredictionResultsResponse)},
    404,
    parameters=(
        choice(
            "source",
            ("stream",),
            "`stream`: as the stream keeps it, which is the only source of predictions.",
        ),
        *day_parameters("day (UTC) to show", "everything is counted in any case"),
        _SHOWN,
    ),
)
PERSONS: Final = operation(
    "listPredictionPersons",
    "The persons with the highest or lowest scores, of all or of a range",
    {
        "200": _with_example(
            json_response(PredictionPersonsResponse),
            _shared(
                order="highest",
                withheld=False,
                withheld_because=None,
                persons=[{"person": "ann", **_SCORE}],
                next="0.731/ann",
                complete=True,
            ),
        )
    },
    404,
    parameters=(
        choice("order", ORDERS, "Which scores come first."),
        number("limit", "The most to return.", 1, maximum=MAX_PAGE, default=DEFAULT_PAGE),
        parameter("after", {"type": "string"}, "The `next` of the page before."),
        decimal("min_score", "Only persons with this score or a higher one."),
        decimal("max_score", "Only persons with a lower score than this."),
        _SHOWN,
    ),
)
PERSON: Final = operation(
    "readPredictionPerson",
    "What a prediction last said of one person, and which features contributed most",
    {
        "200": _with_example(
            json_response(PredictionPersonResponse),
            _shared(
                person="ann",
                withheld=False,
                withheld_because=None,
                **_SCORE,
                contributions=[
                    {"feature": "event_1_recency", "value": 2.3, "contribution": 0.81},
                    {"feature": "trend_1h", "value": 0.9, "contribution": 0.22},
                ],
                complete=True,
            ),
        )
    },
    404,
    parameters=(_SHOWN,),
)


PROMOTE: Final = operation(
    "promotePredictionModel",
    "Make the champion or a challenger of a prediction, by its name, the model that scores",
    {"200": tagged_response(PredictionResponse)},
    *(404, 409, 413),
    parameters=(IF_MATCH,),
    body="PromoteRequest",
)


def refine(schemas: Json) -> None:
    """Add examples, which types cannot have."""
    shown = {name: {"description": "Ignored."} for name in ("withheld", "withheld_because")}
    schemas["Prediction"]["properties"] |= shown
    schemas["Prediction"]["examples"] = [DEFINITION_EXAMPLE]
    schemas["PromoteRequest"]["examples"] = [{"model": "logistic_adagrad_0.1"}]
    schemas["QualityResponse"]["examples"] = [_QUALITY]
