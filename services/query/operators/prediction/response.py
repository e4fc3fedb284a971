"""What the API answers about predictions: what was asked, and how good the models are."""

import datetime

import msgspec

from schemas.event_filter import EventFilter
from schemas.model_spec import NAIVE_KINDS, ModelKind, ModelSpec
from schemas.operators.prediction import (
    PredictionDefinition,
    Promotion,
    RecentlyPerformed,
    Target,
    features_of,
    models_of,
)
from schemas.time.calendar import begin_of
from services.query.http.params import Source, instant
from services.query.operators.prediction.aggregates import PredictionAggregates
from services.query.operators.prediction.bands import BandResponse, ScoreCounts, bands_of
from services.query.operators.prediction.models import ModelState, trouble_of
from services.query.operators.prediction.promotion import (
    ChampionResponse,
    FindModel,
    champion_response,
    reign_of,
)
from services.query.operators.prediction.quality import QualityResponse
from services.query.views.progress import State

_NAIVE: str = (
    "it assumes that features are independent and normally distributed, which they hardly ever "
    "are: its probabilities are far too sure"
)


class PredictionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction; `revision` rises with every change, `version` when what is asked changes.

    `champion` is the model that was promoted by name, if any. A rule may have promoted another one
    since: the results say which model scores. `withheld` is true as long as that model has not
    shown to be better than its base rate, and `withheld_because` says why not.
    """

    id: str
    revision: int
    version: int
    name: str
    description: str
    goal: EventFilter
    within_s: int
    target: Target
    value: str | None
    at: EventFilter
    sample: float
    lateness_s: int
    events: tuple[EventFilter, ...]
    steps: tuple[EventFilter, ...]
    conditions: tuple[RecentlyPerformed, ...]
    amount: str | None
    property: str | None
    category: str | None
    category_bits: int
    features: tuple[str, ...]
    clip: float
    model: ModelSpec | None
    challengers: tuple[ModelSpec, ...]
    champion: str | None
    promotion: Promotion | None
    since: str | None
    withheld: bool
    withheld_because: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class AskedResponse(msgspec.Struct, frozen=True):
    """How many questions the events of a day (UTC) asked."""

    day: datetime.date
    asked: int


class AnswersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of the questions, as of the champion's latest record.

    `learned` have been answered and learned, and `open` are not due yet: a question is due when its
    partition's clock is past its time, `within_s` and `lateness_s` together. `unanswered` are those
    of a `value` that no event answered; they are not learned. `dropped` were open when there were
    too many to be kept. `late_outcomes` are events that came too late to answer any question, and
    `repeated` questions that were asked once more after a worker had lost its state.

    Questions of history are learned in the order of time over all partitions. While any partition
    still reads history the trainer is `merging`, and has learned what was due by `merged_to`; what
    is due later waits, and is open. More than can wait are learned all the same: `unmerged` counts
    those that came after later ones had been learned.
    """

    learned: int
    open: int
    unanswered: int
    dropped: int
    late_outcomes: int
    repeated: int
    merging: bool
    merged_to: datetime.datetime | None
    unmerged: int


class ServedResponse(msgspec.Struct, frozen=True):
    """The quality of scores as they were served, each by the model as it was at the question."""

    window: QualityResponse
    since: QualityResponse


class ModelResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A model, after it has learned `learned` answered questions, and how good it is.

    `window` is its quality for the newest examples, up to 10,000, and `since` for all since the
    start, by what it says of each just before it learns it: both null before the first. `served` is
    the same of the champion's scores as they were served since it is the champion; null for
    challengers.

    `better_than_base` says whether the newest examples show that it is better than its base rate
    (of a value: than the running mean): its log loss (RMSE) is less, and there are at least 500, 20
    of either outcome. Scores that were served decide as soon as there are as many. Otherwise
    `reason` says why not. `naive` is a caution about models of this kind; null for the others.
    `drifts` is how often the champion's loss has changed since it is the champion, by ADWIN.
    """

    name: str
    kind: ModelKind
    learning_rate: float | None
    calibrated: bool
    champion: bool
    learned: int
    better_than_base: bool
    reason: str | None
    naive: str | None
    window: QualityResponse | None
    since: QualityResponse | None
    served: ServedResponse | None
    drifts: int


class PredictionResultsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction has asked, and how good its models' answers are.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that has asked (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.

    `days` has the days (UTC) of events that asked. Of the others, `capped` asked nothing because
    too many questions were open, `sampled_out` because they are not in the sample, and
    `late_triggers` because they came too late. `answers` is what has become of the questions; null
    before the champion's first record. `features` are those of a question, in order.
    `champion` is the model that scores, and `models` has it first, and then its challengers.

    Scores are `withheld` while the champion is not better than its base rate: `withheld_because`
    says why not. `bands` has how many persons have scores in each tenth, or, of a value, in each
    power of ten; null while scores are withheld, unless the request has `withheld=show`, and from
    `avila predict`, which reads no scores. `complete` is false if not all scores are held: persons
    whose scores came longest ago are then in no band. `positions` has, for each partition of the
    event store, the offset before which all events have asked.
    """

    prediction: PredictionResponse
    source: Source
    state: State
    backfilled: float
    asked: int
    capped: int
    sampled_out: int
    late_triggers: int
    days: list[AskedResponse]
    answers: AnswersResponse | None
    features: tuple[str, ...]
    champion: ChampionResponse
    models: list[ModelResponse]
    withheld: bool
    withheld_because: str | None
    bands: list[BandResponse] | None
    complete: bool
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    previous: "PredictionResultsResponse | None" = None


def show(definition: PredictionDefinition, trouble: str | None) -> PredictionResponse:
    """Return the response for a prediction; `trouble` is why its scores are withheld, if so."""
    of = definition.prediction
    return PredictionResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
        withheld=trouble is not None,
        withheld_because=trouble,
        **{name: getattr(of, name) for name in of.__struct_fields__},
    )


def assemble(
    definition: PredictionDefinition,
    aggregates: PredictionAggregates,
    find_model: FindModel,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    previous: PredictionResultsResponse | None = None,
    *,
    counts: ScoreCounts | None = None,
    show_withheld: bool = False,
) -> PredictionResultsResponse:
    """Return the response with the days from `first` to `last`, both included.

    `counts` has the persons by their scores; without it, scores are not known.
    """
    days = ((begin_of("day", day), asked) for day, asked in sorted(aggregates.days.items()))
    reign = reign_of(definition, find_model)
    specs = sorted(models_of(definition.prediction), key=lambda spec: spec.name != reign.model)
    models = [
        _model(spec, find_model(definition, spec), champion=place == 0)
        for place, spec in enumerate(specs)
    ]
    champion = models[0]
    withheld = not (champion.better_than_base or show_withheld)
    target = definition.prediction.target
    return PredictionResultsResponse(
        prediction=show(definition, champion.reason),
        source="stream",
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        asked=aggregates.asked,
        capped=aggregates.capped,
        sampled_out=aggregates.sampled_out,
        late_triggers=aggregates.late_triggers,
        days=[AskedResponse(day, asked) for day, asked in days if first <= day <= last],
        answers=_answers(find_model(definition, specs[0])),
        features=features_of(definition.prediction),
        champion=champion_response(reign),
        models=models,
        withheld=withheld,
        withheld_because=champion.reason,
        bands=None if withheld or counts is None else bands_of(target, counts.persons),
        complete=counts is not None and counts.complete,
        updated_at=None if aggregates.updated_at is None else instant(aggregates.updated_at),
        positions=dict(sorted(aggregates.positions.items())),
        previous=previous,
    )


def _answers(champion: ModelState | None) -> AnswersResponse | None:
    if champion is None or (counts := champion.counts) is None:
        return None
    shown = {name: counts[name] for name in AnswersResponse.__struct_fields__ if name in counts}
    closed = counts["learned"] + counts["unanswered"] + counts["dropped"]
    merging, merged_to, unmerged = champion.merge
    return AnswersResponse(
        open=counts["asked"] - closed,
        merging=merging,
        merged_to=None if merged_to is None else instant(merged_to),
        unmerged=unmerged,
        **shown,
    )


def _model(spec: ModelSpec, state: ModelState | None, *, champion: bool) -> ModelResponse:
    trouble = trouble_of(spec, state)
    quality, served = (None, None) if state is None else (state.maturity, state.served)
    return ModelResponse(
        name=spec.name,
        kind=spec.kind,
        learning_rate=spec.rate or None,
        calibrated=spec.calibrated,
        champion=champion,
        learned=0 if state is None else state.learned,
        better_than_base=trouble is None,
        reason=trouble,
        naive=_NAIVE if spec.kind in NAIVE_KINDS else None,
        window=None if quality is None else quality.window,
        since=None if quality is None else quality.since,
        served=None if served is None else ServedResponse(served.window, served.since),
        drifts=0 if state is None else state.drifts,
    )
