"""The models that score: the newest record of each champion, read from `avila.models`."""

from typing import Final, NamedTuple

import numpy as np
import structlog

from pipelines.columnar.arithmetic import Float32s, Float64s
from pipelines.models.linear import LinearModel
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
    """Scores of some rows, by a model that had learned `version` examples."""

    version: int
    scores: Float64s


class Contribution(NamedTuple):
    """What a feature adds to the logit, or to the predicted value."""

    feature: str
    value: float
    contribution: float


class Champions:
    """The models by which the predictions of this worker score. It begins to read when asked to.

    A model that cannot be read, or that is not the task's, is logged, and the one before it scores.
    """

    def __init__(self, settings: Settings, registry: SchemaRegistry) -> None:
        self._settings = settings
        self._reader: TopicReader | None = None
        self._decode = Codec(
            files.load("model"), registry.find, shipped=files.history("model")
        ).decode
        self._scorers: dict[ModelKey, Scorer] = {}
        self._better: dict[ModelKey, bool] = {}
        self._tasks: set[ModelKey] = set()

    def require(self, task: Task) -> None:
        """Follow the champion of a task from the next call of `follow` on."""
        key = ModelKey.of(task, task.models[0])
        if key not in self._tasks:
            self._tasks.add(key)
            self._reader = None  # its record may have been passed over

    @property
    def caught_up(self) -> bool:
        """Whether the models of all tasks have been read, if there are any."""
        return not self._tasks or (self._reader is not None and self._reader.caught_up)

    def forget(self, task: Task) -> None:
        """Follow the champion of a task no more."""
        key = ModelKey.of(task, task.models[0])
        self._tasks.discard(key)
        self._scorers.pop(key, None)

    def follow(self) -> None:
        """Read the models that are new; blocks for half a second until the topic has been read."""
        if not self._tasks:
            return
        if self._reader is None:
            topic = self._settings.topics.models.name
            self._reader = TopicReader(self._settings.cluster, [topic])
        newest: dict[bytes, bytes | None] = {}
        for message in self._reader.poll(0 if self._reader.caught_up else _FIRST_POLL_S):
            newest[message.key() or b""] = message.value()
        for key, value in newest.items():
            self._take(key, value)

    def _take(self, key: bytes, value: bytes | None) -> None:
        try:
            of = ModelKey.parse(key)
        except ValueError:
            return  # the trainer logs it
        if of not in self._tasks:
            return
        if value is None:
            self._scorers.pop(of, None)
            return
        try:
            decoded = self._decode([value])
            for failure in decoded.failures:
                log.error("not a model", key=key, reason=failure.detail)
            for fields in decoded.batch.to_pylist():
                record = from_fields(fields)
                self._scorers[of], self._better[of] = scorer_of(record), is_better(record)
        except AvilaError as error:
            log.error("model refused", key=key, reason=str(error))

    def score(self, task: Task, features: Float32s) -> Scores:
        """Score some rows; NaN and `NO_MODEL` as long as there is no model."""
        scorer = self._scorer(task)
        if scorer is None or not len(features):
            return Scores(NO_MODEL, np.full(len(features), np.nan))
        scores = scorer.predict_many(features)
        return Scores(scorer.version, np.where(np.isfinite(scores), scores, np.nan))

    def withholds(self, task: Task) -> bool:
        """Return whether the model that scores has not shown to be better than its base rate."""
        return not self._better.get(ModelKey.of(task, task.models[0]), False)

    def contributions(self, task: Task, features: Float32s) -> list[list[Contribution]]:
        """Return the features of each row that contribute most; none if the model is not linear."""
        scorer = self._scorer(task)
        if not isinstance(scorer, LinearModel):
            return [[] for _ in features]
        found = scorer.contributions(features, _CONTRIBUTIONS)
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
        scorer = self._scorers.get(ModelKey.of(task, task.models[0]))
        return scorer if scorer is not None and scorer.features == task.features else None
