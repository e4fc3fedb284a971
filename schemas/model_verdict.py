"""Whether a model has shown to be better than its base rate, from its record alone.

Workers and the query service decide it with the same numbers, to the last bit: a score is withheld
for as long as the model that gave it is not better.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.model_record import Array, ModelRecord
from schemas.model_spec import BASE_KINDS
from schemas.significance import is_clearly_less, standard_error

# A window of fewer examples, or of fewer of either label, shows nothing.
MIN_EXAMPLES: Final = 500
MIN_OF_EITHER: Final = 20
LEAST_SCORE: Final = 1e-15


class Window(NamedTuple):
    """The newest examples: whether they are enough, and the mean losses of the model and its base.

    `error` is the standard error of the mean difference of these losses; of values, they are
    squared errors.
    """

    shows_enough: bool
    loss: float
    base_loss: float
    error: float | None = None


def is_better(record: ModelRecord) -> bool:
    """Return whether the newest examples show that a model is clearly better than its base rate.

    Scores as they were served decide as soon as there are enough of them; before that, what the
    model says of an example just before it learns it.
    """
    if record.spec.kind in BASE_KINDS:
        return False
    window_of = _outcomes if record.spec.predicts_outcome else _values
    for part in ("served", "maturity"):
        arrays = record.part(part)
        if not arrays:
            continue
        try:
            window = window_of(arrays)
        except (KeyError, ValueError):
            return False  # the query service says what is wrong with the record
        if window.shows_enough or part == "maturity":
            return window.shows_enough and is_clearly_less(*window[1:])
    return False


def log_losses(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the loss of each score; logarithms are the C library's."""
    limited = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    right = np.where(positive, limited, 1 - limited)
    return np.array([-math.log(score) for score in right.tolist()], np.float64)


def squares(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square of each error, as the C library's `pow` has it."""
    return np.array([error**2.0 for error in errors.tolist()], np.float64)


def positives_of(words: Array, count: int) -> NDArray[np.bool_]:
    """Return the labels that a record has as bits, the first label in the lowest bit of a word."""
    bits = np.unpackbits(words.astype("<i8").view(np.uint8), bitorder="little")
    found: NDArray[np.bool_] = bits[:count] != 0
    return found


def mean_of(values: NDArray[np.float64]) -> float:
    """Return the mean of values that are added up one after the other; 0 of none."""
    return float(np.cumsum(values)[-1] / len(values)) if len(values) else 0.0


def _outcomes(arrays: Mapping[str, Array]) -> Window:
    scores = arrays["window_scores"].astype(np.float64, copy=False)
    positive = positives_of(arrays["window_labels"], len(scores))
    positives = int(positive.sum())
    enough = len(scores) >= MIN_EXAMPLES and (
        min(positives, len(positive) - positives) >= MIN_OF_EITHER
    )
    if not enough:
        return Window(enough, 0.0, 0.0)
    base_losses = arrays["window_base_losses"].astype(np.float64, copy=False)
    losses = log_losses(scores, positive)
    error = standard_error(losses - base_losses)
    return Window(enough, mean_of(losses), mean_of(base_losses), error)


def _values(arrays: Mapping[str, Array]) -> Window:
    labels = arrays["window_labels"].astype(np.float64, copy=False)
    if len(labels) < MIN_EXAMPLES:
        return Window(False, 0.0, 0.0)
    own, base = (squares(labels - arrays[name]) for name in ("window_scores", "window_base_scores"))
    return Window(True, mean_of(own), mean_of(base), standard_error(own - base))
