"""One prediction in one partition."""

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.constants import NEVER
from pipelines.engine.history import SelectedEvents
from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import FoldResult
from pipelines.operators.prediction.aggregates import PredictionAggregates
from pipelines.operators.prediction.features import FORMULAS
from pipelines.operators.prediction.state import PredictionChanges, PredictionState
from schemas.examples.columns import Task, feature_schema_of
from schemas.operators.prediction import PredictionDefinition, features_of, models_of


class PredictionInstance(OperatorInstance[PredictionDefinition, PredictionChanges]):
    """A prediction as one partition runs it.

    `clock_published` is the clock that the trainer was last told of, `history_published` whether
    it was told that this partition reads history; None as long as it was told neither.
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
        self.history_published: bool | None = None

    def fold(
        self, persons: int, events: SelectedEvents, times_of_day: Int64s
    ) -> FoldResult[PredictionChanges]:
        """Fold events; one that is dated ahead of the time of day moves the clock no further."""
        clocks = np.minimum(events.at, times_of_day)
        return self.state.fold(persons, *events, clocks=clocks)

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
