"""The models that score: the newest record of each prediction's champion on `avila.models`."""

from typing import Final, NamedTuple

import numpy as np
import structlog

from pipelines.columnar.arithmetic import Float32s, Float64s
from pipelines.models.model import Scorer
from pipelines.models.stored import scorer_of
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.errors import AvilaError
from schemas.examples.columns import Task
from schemas.follower import TopicReader
from schemas.model_keys import ModelKey
from schemas.model_record import from_fields
from schemas.model_verdict import is_better
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

log = structlog.get_logger(__name__)

NO_MODEL: Final = -1
_CONTRIBUTIONS: Final = 3
_FIRST_POLL_S: Final = 0.5


class Scores(NamedTuple):
    """Scores of some rows, by the model called `model`, which had learned `version` examples.

    Without a model, it is empty.
    """

    model: str
    version: int
    scores: Float64s


class Contribution(NamedTuple):
    """What a feature adds to the logit, or to the predicted value."""

    feature: str
    value: float
    contribution: float


class TaskKey(NamedTuple):
    """Names one tag of one version of a prediction."""

    project_id: str
    prediction_id: str
    version: int
    tag: int


class Champions:
    """The models by which the predictions of this worker score. It begins to read when asked to.

    The trainer says on each record which model is the champion. One that cannot be read, or that is
    not the task's, is logged, and the one before it scores.
    """

    def __init__(self, settings: Settings, registry: SchemaRegistry) -> None:
        self._settings = settings
        self._reader: TopicReader | None = None
        self._decode = Codec(
            files.load("model"), registry.find, shipped=files.history("model")
        ).decode
        self._scorers: dict[TaskKey, Scorer] = {}
        self._first: dict[TaskKey, str] = {}  # the models that the definitions name first
        self._better: dict[TaskKey, bool] = {}

    def require(self, task: Task) -> None:
        """Follow the champion of a task from the next call of `follow` on."""
        key = _key_of(task)
        if key not in self._first:
            self._first[key] = task.models[0]
            self._reader = None  # its record may have been passed over

    @property
    def caught_up(self) -> bool:
        """Whether the models of all tasks have been read, if there are any."""
        return not self._first or (self._reader is not None and self._reader.caught_up)

    def forget(self, task: Task) -> None:
        """Follow the champion of a task no more."""
        self._first.pop(_key_of(task), None)
        self._scorers.pop(_key_of(task), None)
        self._better.pop(_key_of(task), None)

    def follow(self) -> None:
        """Read the models that are new; blocks for half a second until the topic has been read."""
        if not self._first:
            return
        if self._reader is None:
            topic = self._settings.topics.models.name
            self._reader = TopicReader(self._settings.cluster, [topic])
        newest: dict[bytes, bytes | None] = {}
        for message in self._reader.poll(0 if self._reader.caught_up else _FIRST_POLL_S):
            key = message.key() or b""
            newest.pop(key, None)  # so that they are in the order of the topic
            newest[key] = message.value()
        for key, value in newest.items():
            self._take(key, value)

    def _take(self, key: bytes, value: bytes | None) -> None:
        try:
            of = ModelKey.parse(key)
        except ValueError:
            return  # the trainer logs it
        task, model = TaskKey._make(of[:4]), of.model
        if task not in self._first:
            return
        if value is None:
            if task in self._scorers and self._scorers[task].spec.name == model:
                del self._scorers[task]
            return
        try:
            decoded = self._decode([value])
            for failure in decoded.failures:
                log.error("not a model", key=key, reason=failure.detail)
            # The other models' records, which may be large, are read no further.
            for champion in decoded.batch.column("champion").to_pylist():
                if model == (champion or self._first[task]):
                    (fields,) = decoded.batch.to_pylist()
                    record = from_fields(fields)
                    self._scorers[task], self._better[task] = scorer_of(record), is_better(record)
        except AvilaError as error:
            log.error("model refused", key=key, reason=str(error))

    def score(self, task: Task, features: Float32s) -> Scores:
        """Score some rows; NaN and `NO_MODEL` as long as there is no model."""
        scorer = self._scorer(task)
        if scorer is None or not len(features):
            return Scores("", NO_MODEL, np.full(len(features), np.nan))
        scores = scorer.predict_many(features)
        return Scores(
            scorer.spec.name, scorer.version, np.where(np.isfinite(scores), scores, np.nan)
        )

    def withholds(self, task: Task) -> bool:
        """Return whether the model that scores has not shown to be better than its base rate."""
        return not self._better.get(_key_of(task), False)

    def contributions(self, task: Task, features: Float32s) -> list[list[Contribution]]:
        """Return the features of each row that contribute most; none if the model has none."""
        scorer = self._scorer(task)
        found = None if scorer is None else scorer.contributions(features, _CONTRIBUTIONS)
        if found is None:
            return [[] for _ in features]
        return [
            [
                Contribution(task.features[place], float(row[place]), amount)
                for place, amount in zip(places, amounts, strict=True)
            ]
            for row, places, amounts in zip(
                features, found[0].tolist(), found[1].tolist(), strict=True
            )
        ]

    def _scorer(self, task: Task) -> Scorer | None:
        scorer = self._scorers.get(_key_of(task))
        if scorer is None or scorer.features != task.features:
            return None
        return scorer if scorer.spec.name in task.models else None


def _key_of(task: Task) -> TaskKey:
    return TaskKey(task.project_id, task.prediction_id, task.version, task.tag)
