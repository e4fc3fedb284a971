"""A model with its quality: both take in the same lessons.

Every model is judged by what it says of each example just before it learns it, beside a base rate
that learns the same examples. The champion is also judged by the scores that it has served when
questions were asked, and its losses are watched for drift: from its promotion on.
"""

from collections.abc import Sequence
from typing import Final, Self, TypeAlias

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Arrays
from pipelines.models.base_rate import BaseRate
from pipelines.models.create import create
from pipelines.models.drift import Drift, DriftDetector
from pipelines.models.model import Model
from pipelines.models.quality import OutcomeQuality
from pipelines.models.rows import interleaved
from pipelines.models.stored import MODEL_PART, model_of, model_part
from pipelines.models.value_quality import ValueQuality
from pipelines.trainer.columns import TRAINER
from pipelines.trainer.learner import Asked, Judged, Lesson
from schemas.examples.columns import Task
from schemas.model_record import ModelRecord, named_part
from schemas.model_spec import ModelSpec

# The parts of a record beside the model.
BASE_PART: Final = "base"
MATURITY_PART: Final = "maturity"
SERVED_PART: Final = "served"
DRIFT_PART: Final = "drift"
PARTS: Final = (MODEL_PART, BASE_PART, MATURITY_PART, SERVED_PART, DRIFT_PART)

Quality: TypeAlias = OutcomeQuality | ValueQuality


class ModelLearner:
    """Learns lessons, and is judged by them; `place` is that of the model in the task.

    Attributes:
        model: the model.
        base: the share of positives or the mean, which the model has to beat.
        maturity: the quality of what the model says just before it learns an example.
        served: the quality of the scores as they were served; None unless it is the champion.
        drift: watches the losses of `maturity`; None unless it is the champion.
    """

    def __init__(
        self,
        place: int,
        model: Model,
        base: BaseRate,
        maturity: Quality,
        served: Quality | None,
        drift: DriftDetector | None,
    ) -> None:
        self._place = place
        self.model = model
        self.base = base
        self.maturity = maturity
        self.served = served
        self.drift = drift

    @classmethod
    def new(cls, task: Task, spec: ModelSpec) -> Self:
        """Return a model that has learned nothing.

        Raises:
            InvalidRequest: there is no such model.
        """
        champion = spec.name == task.models[0]
        quality = OutcomeQuality if spec.predicts_outcome else ValueQuality
        return cls(
            task.models.index(spec.name),
            create(spec, task.features),
            BaseRate(_base_spec(spec), task.features),
            quality(),
            quality() if champion else None,
            DriftDetector() if champion else None,
        )

    @classmethod
    def of_record(cls, task: Task, record: ModelRecord) -> Self:
        """Return the learner of a record: it goes on as if it had never stopped.

        Raises:
            InvalidRecord: a part is missing or invalid, or the model can only be rebuilt.
        """
        spec = record.spec
        champion = spec.name == (record.reign.model or task.models[0])
        quality = OutcomeQuality if spec.predicts_outcome else ValueQuality
        return cls(
            task.models.index(spec.name),
            model_of(record),
            BaseRate.from_arrays(_base_spec(spec), record.features, record.part(BASE_PART)),
            quality.from_arrays(record.part(MATURITY_PART)),
            quality.from_arrays(record.part(SERVED_PART)) if champion else None,
            DriftDetector.from_arrays(record.part(DRIFT_PART)) if champion else None,
        )

    @property
    def name(self) -> str:
        """What the definition calls it."""
        return self.model.spec.name

    @property
    def version(self) -> int:
        """How many examples it has learned."""
        return self.model.version

    @property
    def is_compared(self) -> bool:
        """Whether a rule may promote it."""
        return self.model.spec.is_compared

    def set_champion(self, champion: bool) -> None:
        """Begin to judge the scores that it serves, or stop to; see `Learner`."""
        if champion == (self.served is not None):
            return
        outcome = self.model.spec.predicts_outcome
        self.served = (OutcomeQuality() if outcome else ValueQuality()) if champion else None
        self.drift = DriftDetector() if champion else None

    def arrays(self) -> Arrays:
        """Return the state of all parts, under the names that they have in a record."""
        parts = {
            BASE_PART: self.base,
            MATURITY_PART: self.maturity,
            SERVED_PART: self.served,
            DRIFT_PART: self.drift,
        }
        named = dict(model_part(self.model))
        for name, part in parts.items():
            if part is not None:
                named |= named_part(name, part.arrays())
        return named

    def learn(self, lesson: Lesson) -> Judged:
        """Judge the model by each row, then let it learn the row; see `Learner`."""
        count = len(lesson.labels)
        order = interleaved(count)
        if lesson.asked is None:
            scores, asked_scores = self.model.fold(lesson.rows, lesson.labels, order), None
        else:
            rows = np.concatenate([lesson.rows, lesson.asked.rows])
            labels = np.concatenate([lesson.labels, np.zeros(len(lesson.asked.rows))])
            found = self.model.fold(rows, labels, _order_with(order, lesson.asked))
            scores, asked_scores = found[:count], found[count:]
        if not count:
            return Judged(np.empty(0), np.empty(0), asked_scores)
        base_scores = self.base.fold(lesson.rows, lesson.labels, order)
        losses = self.maturity.add(scores, base_scores, lesson.labels)
        return Judged(losses, base_scores, asked_scores)

    def serve(self, lesson: Lesson, judged: Judged) -> Sequence[Drift]:
        """Judge the scores that it has served; see `Learner`."""
        drifts = [] if self.drift is None else self.drift.add(judged.losses)
        if self.served is not None:
            own = (lesson.scorers == self._place) | (lesson.scorers == TRAINER)
            own &= ~np.isnan(lesson.scores)
            self.served.add(lesson.scores[own], judged.base_scores[own], lesson.labels[own])
        return drifts


def _order_with(order: Int64s, asked: Asked) -> Int64s:
    """Return the order of a lesson with each asked row in it, scored at its place."""
    rows = len(order) // 2 + np.arange(len(asked.rows))
    return np.insert(order, 2 * asked.after, rows)


def _base_spec(spec: ModelSpec) -> ModelSpec:
    return ModelSpec("base_rate" if spec.predicts_outcome else "running_mean")
