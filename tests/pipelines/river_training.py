"""Models of River that learn what the oracle says, and how ours compare with them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from river import metrics

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Float64s
from pipelines.models.quality import OutcomeFigures
from pipelines.trainer.model_learner import Quality
from schemas.examples.columns import Task
from schemas.model_spec import ModelSpec
from tests.oracles.training import Learned
from tests.pipelines.examples import Source, score_of
from tests.pipelines.models.as_river import pipeline, score


class River(NamedTuple):
    """River's model, and its metrics: of what it said before it learned, and as served."""

    model: Any
    maturity: Any
    served: Any


def river_after(
    of: Task, spec: ModelSpec, sources: Sequence[Source], order: Sequence[tuple[int, Learned]]
) -> River:
    """River after each example in the order was predicted, judged, and learned by `learn_one`."""
    metric = metrics.LogLoss if spec.predicts_outcome else metrics.MAE
    river = River(pipeline(spec), metric(), metric())
    asked = {(source.number, one.offset): one for source in sources for one in source.asked}
    for number, learned in order:
        question = asked[number, learned.offset]
        row = np.array(question.features, np.float32).tolist()
        x = dict(zip(of.features, row, strict=True))
        label: Any = bool(learned.label) if spec.predicts_outcome else learned.label
        river.maturity.update(label, score(river.model, x))
        river.served.update(label, score_of(question))
        river.model.learn_one(x, label)
    return river


def state_in(arrays: Mapping[str, Float64s | Int64s]) -> list[float]:
    """A linear model's means, variances, weights, intercept and counts, in the order of `state`."""
    keys = ("means", "variances", "weights", "intercept")
    numbers = [number for key in keys for number in arrays[key].tolist()]
    return [*numbers, *[float(arrays["learned"][0])] * len(arrays["means"])]


def loss_in(quality: Quality) -> float:
    """The mean loss since the start: log loss, or absolute error."""
    figures = quality.since()
    return figures.log_loss if isinstance(figures, OutcomeFigures) else figures.mae
