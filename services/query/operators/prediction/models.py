"""The view of the models: what each has learned, and how good it is.

Of a record only the quality is kept: at most 320 kB a model, for twice the newest 10,000 examples.
What a model scores with is not kept; `avila predict --export` reads it from the topic.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import structlog

from schemas.definitions import tag_of
from schemas.errors import InvalidRecord
from schemas.examples.checksum import to_signed
from schemas.model_keys import ModelKey
from schemas.model_record import ModelRecord, Reign, from_fields
from schemas.model_spec import BASE_KINDS, ModelSpec
from schemas.operators.prediction import PredictionDefinition
from schemas.operators.spec import ResultTopic
from services.query.operators.prediction.quality import OutcomeQuality, Quality, ValueQuality
from services.query.views.reader import ResultSource, Update, VersionKey

log = structlog.get_logger(__name__)

# What the array `training.counts` of a record has, in order.
TRAINING_COUNTS: Final = (
    "asked",
    "learned",
    "unanswered",
    "dropped",
    "late_outcomes",
    "capped",
    "sampled_out",
    "late_triggers",
    "repeated",
)
MODELS: Final = ResultTopic("models", "model")


class Merge(NamedTuple):
    """How far the trainer has merged the history of all source partitions into one order of time.

    `merged_to` is in ms; None before it has begun. `merging` says whether history is still learned.
    `unmerged` questions of history were learned after later ones, since too many waited.
    """

    merging: bool
    merged_to: int | None
    unmerged: int


NOT_MERGED: Final = Merge(merging=False, merged_to=None, unmerged=0)


class ModelState(NamedTuple):
    """A model, as the latest record has it.

    `maturity` is the quality of what the model says of an example just before it learns it, and
    `served` that of the champion's scores as they were served. Each is None if the record has none.
    `reign` says which model scores as of `position`, an offset of `avila.examples`.
    `counts` has what became of all questions, by the names in `TRAINING_COUNTS`, and `merge` how
    those of history were learned. `refused` is why the record is not one of a model; all else is
    then as of one that has learned nothing.
    """

    version_key: VersionKey
    model: str = ""
    learned: int = 0
    maturity: Quality | None = None
    served: Quality | None = None
    drifts: int = 0
    counts: Mapping[str, int] | None = None
    refused: str | None = None
    position: int = 0
    reign: Reign = Reign()
    merge: Merge = NOT_MERGED


NOT_LEARNED: Final = "it has learned nothing yet"


class Models:
    """The models of all predictions; for one thread."""

    def __init__(self) -> None:
        self._states: dict[ModelKey, ModelState] = {}

    def apply(self, updates: Iterable[Update[ModelState]]) -> None:
        """Take in records in the order of their partitions; repeating some changes nothing."""
        for key, state in updates:
            try:
                name = ModelKey.parse(key)
            except ValueError as error:
                log.error("model_key_unreadable", key=key, reason=str(error))
                continue
            if state is None:
                self._states.pop(name, None)
            elif state.refused is None and (*state.version_key, state.model) != _named(name):
                log.error("model_under_foreign_key", key=key)
                reason = "it is under the key of another"
                self._states[name] = ModelState(state.version_key, state.model, refused=reason)
            else:
                self._states[name] = state

    def of(self, definition: PredictionDefinition, spec: ModelSpec) -> ModelState | None:
        """Return a model of this version of the prediction; None before its first record."""
        return self._states.get(key_of(definition, spec))


def _named(key: ModelKey) -> tuple[str, str, int, str]:
    return key.project_id, key.prediction_id, key.version, key.model


def trouble_of(spec: ModelSpec, state: ModelState | None) -> str | None:
    """Return why a model is not better than its base rate; None if it has shown to be.

    The scores that were served decide as soon as there are enough of them. After a backfill there
    may be none yet: then what the model says just before it learns decides.
    """
    if spec.kind in BASE_KINDS:
        return "it is what other models are compared with"
    if state is None:
        return NOT_LEARNED
    if state.refused is not None:
        return f"its record is refused: {state.refused}"
    if state.served is not None and state.served.shows_enough:
        return state.served.trouble
    return NOT_LEARNED if state.maturity is None else state.maturity.trouble


def key_of(definition: PredictionDefinition, spec: ModelSpec) -> ModelKey:
    """Return the key of a model's records."""
    tag = to_signed(tag_of(definition))
    return ModelKey(definition.project_id, definition.id, definition.version, tag, spec.name)


def read_models(batch: pa.RecordBatch) -> list[ModelState]:
    """Read decoded rows as the states of models. Nothing in them is executed."""
    return [state_of(fields) for fields in batch.to_pylist()]


def state_of(fields: dict[str, object]) -> ModelState:
    """Return the state of the model that the fields of a record describe."""
    named = VersionKey(
        str(fields["project_id"]), str(fields["prediction_id"]), int(str(fields["version"]))
    )
    try:
        record = from_fields(fields)
        return ModelState(
            named,
            record.spec.name,
            record.learned,
            _quality(record, "maturity"),
            _quality(record, "served"),
            _drifts(record),
            _counts(record),
            position=record.position,
            reign=record.reign,
            merge=_merge(record),
        )
    except InvalidRecord as error:
        log.error("model_refused", of=named, reason=error.detail)
        return ModelState(named, refused=error.detail)


def _quality(record: ModelRecord, part: str) -> Quality | None:
    """Return the quality in a part of a record; raises `InvalidRecord` if it is none."""
    arrays = record.part(part)
    if not arrays:
        return None
    try:
        of_outcome = record.spec.predicts_outcome
        return OutcomeQuality(arrays) if of_outcome else ValueQuality(arrays)
    except InvalidRecord as error:
        raise InvalidRecord(error.reason, f"{part}.{error.detail}") from error


def _counts(record: ModelRecord) -> Mapping[str, int] | None:
    counts = record.part("training").get("counts")
    if counts is None or counts.shape != (len(TRAINING_COUNTS),):
        return None
    return dict(zip(TRAINING_COUNTS, counts.astype(np.int64).tolist(), strict=True))


def _merge(record: ModelRecord) -> Merge:
    """Return how history is merged, by the arrays `training.merged` and `training.merge`."""
    training = record.part("training")
    merged, sources = training.get("merged"), training.get("merge")
    if merged is None or sources is None or merged.shape != (4,) or sources.ndim != 2:
        return NOT_MERGED  # an earlier version has written the record
    merged_to, partitions, unmerged = merged.astype(np.int64).tolist()[:3]
    merging = sources.shape[1] < partitions or bool(sources[:1].any())
    return Merge(merging, merged_to if merged_to >= 0 else None, unmerged)


def _drifts(record: ModelRecord) -> int:
    counts = record.part("drift").get("counts")
    return int(counts[1]) if counts is not None and counts.shape == (2,) else 0


PREDICTION_MODELS: Final = ResultSource("prediction models", MODELS, read_models)
