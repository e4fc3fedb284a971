"""The view of the models: what each has learned, and how good it is.

Of a record only what is served is kept: at most 160 kB a model, for the newest 10,000 examples.
What a model scores with is not kept; `avila predict --export` reads it from the topic.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import structlog

from schemas.definitions import tag_of
from schemas.errors import InvalidRecord
from schemas.model_keys import ModelKey
from schemas.model_record import ModelRecord, from_fields
from schemas.model_spec import BASE_KINDS, ModelSpec
from schemas.operators.prediction import PredictionDefinition, models_of
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


class ModelState(NamedTuple):
    """A model, as the latest record has it.

    `quality` is None if the record has none. `counts` has what became of all questions, by the
    names in `TRAINING_COUNTS`. `refused` is why the record is not one of a model; all else is then
    as of one that has learned nothing.
    """

    version_key: VersionKey
    learned: int = 0
    quality: Quality | None = None
    drifts: int = 0
    counts: Mapping[str, int] | None = None
    refused: str | None = None


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
            elif state.version_key != name[:3]:
                log.error("model_under_foreign_key", key=key)
            else:
                self._states[name] = state

    def of(self, definition: PredictionDefinition, spec: ModelSpec) -> ModelState | None:
        """Return a model of this version of the prediction; None before its first record."""
        return self._states.get(key_of(definition, spec))

    def trouble(self, definition: PredictionDefinition) -> str | None:
        """Return why the scores of a prediction are withheld; None if they are not."""
        champion = models_of(definition.prediction)[0]
        return trouble_of(champion, self.of(definition, champion))


def trouble_of(spec: ModelSpec, state: ModelState | None) -> str | None:
    """Return why a model is not better than its base rate; None if it has shown to be."""
    if spec.kind in BASE_KINDS:
        return "it is what other models are compared with"
    if state is None:
        return NOT_LEARNED
    if state.refused is not None:
        return f"its record is refused: {state.refused}"
    return NOT_LEARNED if state.quality is None else state.quality.trouble


def key_of(definition: PredictionDefinition, spec: ModelSpec) -> ModelKey:
    """Return the key of a model's records."""
    tag = tag_of(definition)
    signed = tag - (1 << 64) if tag >> 63 else tag
    return ModelKey(definition.project_id, definition.id, definition.version, signed, spec.name)


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
            named, record.learned, quality_of(record), _drifts(record), _counts(record)
        )
    except InvalidRecord as error:
        log.error("model_refused", of=named, reason=error.detail)
        return ModelState(named, refused=error.detail)


def quality_of(record: ModelRecord) -> Quality | None:
    """Return the quality of a record's model; None if it has none.

    Raises:
        InvalidRecord: its arrays are not those of one.
    """
    arrays = record.part("quality")
    if not arrays:
        return None
    return OutcomeQuality(arrays) if record.spec.predicts_outcome else ValueQuality(arrays)


def _counts(record: ModelRecord) -> Mapping[str, int] | None:
    counts = record.part("training").get("counts")
    if counts is None or counts.shape != (len(TRAINING_COUNTS),):
        return None
    return dict(zip(TRAINING_COUNTS, counts.astype(np.int64).tolist(), strict=True))


def _drifts(record: ModelRecord) -> int:
    counts = record.part("drift").get("counts")
    return int(counts[1]) if counts is not None and counts.shape == (2,) else 0


PREDICTION_MODELS: Final = ResultSource("prediction models", MODELS, read_models)
