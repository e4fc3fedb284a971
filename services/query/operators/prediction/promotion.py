"""Which model scores, and since when; and the request that promotes another one."""

from collections.abc import Callable

import msgspec

from schemas.errors import InvalidRequest
from schemas.model_record import Reason, Reign
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import PredictionDefinition, models_of
from services.query.http.params import take
from services.query.operators.prediction.models import ModelState, trouble_of

# What is known of a model of the prediction; None before its first record.
FindModel = Callable[[PredictionDefinition, ModelSpec], ModelState | None]


class PromoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Makes `model`, by its name, the champion; `revision` and `version` as for any change."""

    model: str
    revision: int | None = None
    version: int | None = None


class ChampionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The model whose scores are served, as of the models' latest records.

    It is the champion by the record of `avila.examples` at offset `since`, when `learned` answers
    had been learned, and why: it is the definition's `model` (`defined`), or somebody (`command`)
    or the definition's rule (`rule`) has promoted it in the place of `before`.
    """

    model: str
    since: int
    learned: int
    reason: Reason
    before: str | None


def read_model(fields: dict[str, msgspec.Raw]) -> str:
    """Read the name of the model to promote from a request's body.

    Raises:
        InvalidRequest: it is missing, or there is something else.
    """
    model = take(fields, "model", str)
    if fields:
        raise InvalidRequest("accepted are `model`, `revision` and `version`", min(fields))
    if model is None:
        raise InvalidRequest("is required: the name of the champion or of a challenger", "model")
    name: str = model
    return name


def reign_of(definition: PredictionDefinition, find: FindModel) -> Reign:
    """Return which model scores, by the latest record of any of them."""
    specs = models_of(definition.prediction)
    states = [state for spec in specs if (state := find(definition, spec)) and not state.refused]
    first = definition.prediction.champion or specs[0].name
    if not states:
        return Reign(first)
    reign = max(states, key=lambda state: state.position).reign
    known = reign.model in {spec.name for spec in specs}
    return reign if known else reign._replace(model=specs[0].name)


def champion_of(definition: PredictionDefinition, reign: Reign) -> ModelSpec:
    """Return the model that scores."""
    return next(spec for spec in models_of(definition.prediction) if spec.name == reign.model)


def trouble(definition: PredictionDefinition, find: FindModel) -> str | None:
    """Return why the scores of a prediction are withheld; None if they are not."""
    champion = champion_of(definition, reign_of(definition, find))
    return trouble_of(champion, find(definition, champion))


def champion_response(reign: Reign) -> ChampionResponse:
    """Return the response for a reign."""
    return ChampionResponse(
        model=reign.model,
        since=reign.since,
        learned=reign.learned,
        reason=reign.reason,
        before=reign.before or None,
    )
