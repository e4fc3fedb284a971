"""Predictions: how likely a person is to do something soon, learned from the events themselves."""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from schemas.conditions import PropertyName, check_conditions
from schemas.definition_codec import DefinitionCodec
from schemas.definitions import MAX_WINDOW_S, Definition, Text, counts_alike
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.model_spec import OUTCOME_KINDS, VALUE_KINDS, ModelKind, ModelSpec
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.time.since import Since, since_ms

MAX_PREDICTIONS_PER_PROJECT: Final = 20
MAX_EVENTS: Final = 3
MAX_STEPS: Final = 8
MAX_CONDITIONS: Final = 4
MAX_TIMES: Final = 8
MAX_CATEGORY_BITS: Final = 6
MAX_LATENESS_S: Final = 7 * 86_400
MAX_CHALLENGERS: Final = 5

Target: TypeAlias = Literal["performs", "does_not", "value"]
# What is known of every person, whatever a definition names.
_OF_ALL_EVENTS: Final = (
    "recency",
    "frequency",
    "tenure",
    "sessions",
    "session_depth",
    "session_age",
    "active_days",
    "gap_mean",
    "gap_variation",
    "decayed_5m",
    "decayed_1h",
    "decayed_1d",
    "decayed_7d",
    "trend_1h",
    "trend_1d",
    "trend_7d",
    "hour_sine",
    "hour_cosine",
    "weekend",
)


class RecentlyPerformed(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A feature that is 1 if the person did something `at_least` times within `within_s`."""

    filter: EventFilter
    within_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)]
    at_least: Annotated[int, Meta(ge=1, le=MAX_TIMES)] = 1


class Promotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule by which a challenger takes the champion's place.

    `best`: over each `examples` answers, one such span after the other, the losses of all models
    for the same questions are compared. The challenger with the least loss is promoted if its loss
    is at least `margin` less than the champion's, and the mean difference of the losses is more
    than two standard errors. The loss is the log loss, and the RMSE of a value, in its unit.
    """

    rule: Literal["best"] = "best"
    margin: Annotated[float, Meta(gt=0, le=1e9)] = 0.01
    examples: Annotated[int, Meta(ge=100, le=100_000)] = 1_000


class Prediction(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Predicts, at each event that passes `at`, what the person does in the `within_s` after it.

    - `performs`: the probability that an event passes `goal`, up to `within_s` seconds later.
    - `does_not`: the probability that none does.
    - `value`: the number in the property `value` of the next event that passes `goal` and has one.

    An event that passes `goal` answers a question if it comes after it in the event store, and its
    time is at most `within_s` seconds later. A question is learned when the clock of its partition
    is `within_s` and `lateness_s` past it; what comes even later is counted as `late_outcomes`. An
    event that is older than the person's newest one asks nothing.

    `sample` is the share of those events that ask, chosen by a hash of their ids. Whatever the
    sample, a deployment has at most 50,000 open questions, each of its partitions an equal part of
    them; what that leaves out is counted as `capped`.

    Features describe the person as of the event: see `features_of`. `events`, `steps`,
    `conditions`, `amount`, `property` and `category` add features to those that all predictions
    have; `features` chooses some by name.

    `model` scores. `challengers` learn from the same questions and are judged beside it. If
    `champion` names one of them, it scores in place of `model`, and with `promotion`, a rule may
    promote another one later: neither changes what is learned. With `since`, events before that
    time do not count.
    """

    goal: EventFilter
    within_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)]
    target: Target = "performs"
    value: PropertyName | None = None
    at: EventFilter = EventFilter()
    sample: Annotated[float, Meta(gt=0, le=1)] = 1.0
    lateness_s: Annotated[int, Meta(ge=0, le=MAX_LATENESS_S)] = 300
    events: Annotated[tuple[EventFilter, ...], Meta(max_length=MAX_EVENTS)] = ()
    steps: Annotated[tuple[EventFilter, ...], Meta(max_length=MAX_STEPS)] = ()
    conditions: Annotated[tuple[RecentlyPerformed, ...], Meta(max_length=MAX_CONDITIONS)] = ()
    amount: PropertyName | None = None
    property: PropertyName | None = None
    category: PropertyName | None = None
    category_bits: Annotated[int, Meta(ge=1, le=MAX_CATEGORY_BITS)] = 4
    features: tuple[str, ...] = ()
    clip: Annotated[float, Meta(gt=0, le=1e9)] = 1e6
    model: ModelSpec | None = None
    challengers: Annotated[tuple[ModelSpec, ...], Meta(max_length=MAX_CHALLENGERS)] = ()
    champion: str | None = None
    promotion: Promotion | None = None
    since: Since | None = None
    name: Text = ""
    description: Text = ""


class PredictionDefinition(Definition, frozen=True, kw_only=True):
    """A prediction on the definitions topic.

    `promoted` is the revision that made `prediction.champion` the champion: a rule may have
    promoted another model since. It is 0 if no revision of this version has named a champion.

    `person_key` is the fingerprint of the secret by which this version names persons in
    `avila.examples` (`schemas.person_key`); empty for hashes without one, which versions have that
    began before there was a secret.
    """

    KIND = "prediction"

    prediction: Prediction
    promoted: int = 0
    person_key: str = ""

    @property
    def since_ms(self) -> int:
        """The first moment whose events count (ms since 1970)."""
        return since_ms(self.prediction.since)


def features_of(prediction: Prediction) -> tuple[str, ...]:
    """Return the names of the features, in the order of a row.

    `pipelines.operators.prediction.features` has the formula of each.
    """
    every = all_features_of(prediction)
    return tuple(name for name in every if not prediction.features or name in prediction.features)


def all_features_of(prediction: Prediction) -> tuple[str, ...]:
    """Return the names of the features that a prediction could have, in the order of a row."""
    kinds = ("goal", *(f"event_{n}" for n in range(1, 1 + len(prediction.events))))
    names = [*_OF_ALL_EVENTS]
    for kind in kinds:
        names += [f"{kind}_decayed", f"{kind}_share", f"{kind}_recency"]
    if prediction.amount is not None:
        names += ["amount_decayed", "amount_last"]
    if prediction.steps:
        names.append("steps_reached")
    names += [f"condition_{n}" for n in range(1, 1 + len(prediction.conditions))]
    if prediction.property is not None:
        names += ["property_last", "property_missing"]
    if prediction.category is not None:
        names += [f"category_{n}" for n in range(1 << prediction.category_bits)]
    return tuple(names)


def models_of(prediction: Prediction) -> tuple[ModelSpec, ...]:
    """Return the models that learn; the first one scores until another is promoted."""
    kind: ModelKind = "linear_regression" if prediction.target == "value" else "logistic_sgd"
    return (prediction.model or ModelSpec(kind), *prediction.challengers)


def promoted(definition: PredictionDefinition, model: str, now_ms: int) -> PredictionDefinition:
    """Return the next revision of a definition, with a model as the champion.

    Raises:
        InvalidRequest: the definition has no such model, or its rule could not go on from it.
    """
    prediction = msgspec.structs.replace(definition.prediction, champion=model)
    _check_promotion(prediction, "model")
    revision = definition.revision + 1
    return msgspec.structs.replace(
        definition,
        prediction=prediction,
        revision=revision,
        promoted=revision,
        updated_at=max(now_ms, definition.updated_at),
    )


def succeeding(before: PredictionDefinition, after: PredictionDefinition) -> PredictionDefinition:
    """Return `after`, which succeeds `before`, with what is not in a request.

    The same version goes on to name persons as it did. A champion that is named as before has not
    been promoted again: what a rule has promoted since stays the champion.
    """
    champion = after.prediction.champion
    if after.version == before.version:
        after = msgspec.structs.replace(after, person_key=before.person_key)
    if after.version == before.version and champion == before.prediction.champion:
        return msgspec.structs.replace(after, promoted=before.promoted)
    named = champion is not None or after.version == before.version
    return msgspec.structs.replace(after, promoted=after.revision if named else 0)


def decode_prediction(body: bytes) -> Prediction:
    """Decode a prediction from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: PredictionDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> PredictionDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a prediction.
    """
    return _CODEC.decode(value)


def _check(prediction: Prediction) -> None:
    _check_filters(prediction)
    if (prediction.target == "value") != (prediction.value is not None):
        raise InvalidRequest("names a property if `target` is `value`, and only then", "value")
    _check_models(prediction)
    _check_promotion(prediction, "champion")
    known = all_features_of(prediction)
    for place, name in enumerate(prediction.features):
        if name not in known:
            raise InvalidRequest(
                f"there is no feature {name!r} here; accepted are {', '.join(known)}",
                f"features[{place}]",
            )
    since_ms(prediction.since)


def _check_filters(prediction: Prediction) -> None:
    named = {
        "goal": prediction.goal,
        "at": prediction.at,
        **{f"events[{n}]": event for n, event in enumerate(prediction.events)},
        **{f"steps[{n}]": step for n, step in enumerate(prediction.steps)},
        **{f"conditions[{n}].filter": one.filter for n, one in enumerate(prediction.conditions)},
    }
    for field, of in named.items():
        check_conditions(of.where, f"{field}.where")


def _check_models(prediction: Prediction) -> None:
    models, values = models_of(prediction), prediction.target == "value"
    for place, spec in enumerate(models):
        field = f"challengers[{place - 1}]" if place else "model"
        spec.check(field)
        if spec.predicts_outcome == values:
            accepted = ", ".join(VALUE_KINDS if values else OUTCOME_KINDS)
            raise InvalidRequest(
                f"a model of the target {prediction.target!r} is one of {accepted}", f"{field}.kind"
            )
        if spec.name in {before.name for before in models[:place]}:
            raise InvalidRequest("this model is given twice", field)


def _check_promotion(prediction: Prediction, field: str) -> None:
    """Check the champion, which is in `field` of the request, and the rule."""
    specs = {spec.name: spec for spec in models_of(prediction)}
    champion = prediction.champion
    if champion is not None and champion not in specs:
        raise InvalidRequest(
            f"there is no model {champion[:80]!r}; accepted are {', '.join(specs)}", field
        )
    if prediction.promotion is None:
        return
    compared = [name for name, spec in specs.items() if spec.is_compared]
    if champion is not None and champion not in compared:
        accepted = ", ".join(compared)
        raise InvalidRequest(f"a rule can go on from one of {accepted} only", field)
    if not models_of(prediction)[0].is_compared or len(compared) == 1:
        raise InvalidRequest(
            "needs a model and a challenger that are neither base rates nor trees", "promotion"
        )


def _counts_alike(before: PredictionDefinition, after: PredictionDefinition) -> bool:
    return counts_alike(_without_serving(before.prediction), _without_serving(after.prediction))


def _without_serving(prediction: Prediction) -> Prediction:
    """Return what determines questions and models, whichever of these scores."""
    return msgspec.structs.replace(prediction, champion=None, promotion=None)


_CODEC: Final = DefinitionCodec(
    Prediction,
    PredictionDefinition,
    check=_check,
    check_stored=lambda definition: _check(definition.prediction),
)


PREDICTION: Final = OperatorSpec(
    name=PredictionDefinition.KIND,
    plural="predictions",
    decode=decode,
    encode=encode,
    counts_alike=_counts_alike,
    max_per_project=MAX_PREDICTIONS_PER_PROJECT,
    aggregates=ResultTopic("prediction-questions", "prediction-result"),
    changes=(ResultTopic("predictions", "prediction-score"),),
)
