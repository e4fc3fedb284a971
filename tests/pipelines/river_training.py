"""Models of River that learn what the oracle says, and how ours compare with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.models.arrays import Float64s
from schemas.examples.columns import Task
from schemas.model_spec import ModelSpec
from tests.oracles.training import Learned
from tests.pipelines.examples import Source
from tests.pipelines.models.as_river import pipeline


def river_after(
    of: Task, spec: ModelSpec, sources: Sequence[Source], order: Sequence[tuple[int, Learned]]
) -> Any:
    """River's own model after `learn_one` of each example in the order."""
    model = pipeline(spec)
    features = {
        (source.number, one.offset): np.array(one.features, np.float32).tolist()
        for source in sources
        for one in source.asked
    }
    for number, learned in order:
        x = dict(zip(of.features, features[number, learned.offset], strict=True))
        label: Any = bool(learned.label) if spec.predicts_outcome else learned.label
        model.learn_one(x, label)
    return model


def state_in(arrays: Mapping[str, Float64s | Int64s]) -> list[float]:
    """A linear model's means, variances, weights, intercept and counts, in the order of `state`."""
    keys = ("means", "variances", "weights", "intercept")
    numbers = [number for key in keys for number in arrays[key].tolist()]
    return [*numbers, *[float(arrays["learned"][0])] * len(arrays["means"])]
