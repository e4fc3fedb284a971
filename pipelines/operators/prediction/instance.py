"""One prediction in one partition."""

from pipelines.engine.clocked_instance import ClockedInstance
from pipelines.engine.constants import NEVER
from pipelines.operators.prediction.aggregates import PredictionAggregates
from pipelines.operators.prediction.features import FORMULAS
from pipelines.operators.prediction.state import MAX_OPEN, PredictionChanges, PredictionState
from schemas.examples.columns import Serving, Task, feature_schema_of
from schemas.operators.prediction import PredictionDefinition, features_of, models_of


class PredictionInstance(ClockedInstance[PredictionDefinition, PredictionChanges]):
    """A prediction as one partition runs it.

    `clock_published` is the clock that the trainer was last told of, `serving_published` what it
    was last told about the champion, and `history_published` whether it was told that this
    partition reads history; None as long as it was told neither.
    """

    merges_history = True

    def __init__(
        self,
        definition: PredictionDefinition,
        lateness_ms: int,  # noqa: ARG002 (a prediction has a lateness of its own)
    ) -> None:
        super().__init__(definition)
        self.state: PredictionState = PredictionState(definition.prediction)
        self.aggregates: PredictionAggregates = PredictionAggregates()
        self.task = self._task()
        self.clock_published = NEVER
        self.serving_published: Serving | None = None
        self.history_published: bool | None = None

    def set_partitions(self, count: int) -> None:
        """Share the open questions of the deployment among its partitions."""
        self.state.set_max_open(max(1, MAX_OPEN // count))

    @property
    def serving(self) -> Serving:
        """What the definition says about its champion."""
        prediction, promoted = self.definition.prediction, self.definition.promoted
        rule = prediction.promotion
        return Serving(
            self.definition.revision,
            prediction.champion or "",
            promoted,
            0.0 if rule is None else rule.margin,
            0 if rule is None else rule.examples,
        )

    @property
    def awaits_time(self) -> bool:
        """Whether questions are open as far as the trainer knows."""
        return self.state.open_until > self.clock_published

    def read_to(self, clock: int) -> PredictionChanges | None:
        """Return the clock by which the trainer may learn, if it is ahead of that of the events."""
        known = max(self.clock_published, self.state.clock or NEVER)
        return self.state.nothing(clock) if clock > known else None

    def _task(self) -> Task:
        """Return what the trainer must know."""
        of, definition = self.definition.prediction, self.definition
        features = features_of(of)
        return Task(
            project_id=definition.project_id,
            prediction_id=definition.id,
            version=definition.version,
            tag=int(self.tag.astype("int64")),
            target=of.target,
            horizon_ms=1_000 * of.within_s,
            lateness_ms=1_000 * of.lateness_s,
            models=tuple(spec.name for spec in models_of(of)),
            features=features,
            feature_schema=feature_schema_of(features, FORMULAS),
        )
