"""How good a model is, from the arrays of a part of its record: `maturity`, or `served`.

These hold all that the trainer judged: the sums since the start, and each of the newest examples.
Figures are worked out from them once, when they are first asked for, which takes a few
milliseconds; logarithms are the C library's, so that the figures have the trainer's bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from schemas.errors import InvalidRecord
from schemas.model_record import Array
from schemas.model_verdict import (
    MIN_EXAMPLES,
    MIN_OF_EITHER,
    log_losses,
    mean_of,
    positives_of,
    squares,
)
from schemas.significance import is_clearly_less, standard_error

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS: Final = 10
_REASON: Final = "invalid_model"


class BinResponse(msgspec.Struct, frozen=True):
    """The examples with scores from `from` to below `to`, of the last bin also 1.

    A calibrated model has a `rate`, the share of positives, near its `mean_score`. Both are null
    where there are no examples.
    """

    begin: float = msgspec.field(name="from")
    end: float = msgspec.field(name="to")
    examples: int
    mean_score: float | None
    rate: float | None


class QualityResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How good the scores of a number of examples were, each before its answer was learned.

    Of a model of an outcome: `log_loss`, and `base_log_loss`, which the base rate would have had;
    `roc_auc` and `pr_auc` (average precision), exact, of the newest examples only, null where there
    are not both outcomes (of the second, no positive one); `calibration`, by tenths of the score,
    and `calibration_error`, the mean distance of score and rate. Of a model of a value: `mae` and
    `rmse`, and `base_mae` and `base_rmse`, which the running mean would have had.

    `standard_error` is that of the mean difference of the losses of model and base rate (of a
    value, of the squared errors), for the newest examples; null since the start, and of fewer than
    two. A model is better than its base rate if its mean loss is less by more than two of these.
    """

    examples: int
    positives: int | UnsetType = UNSET
    log_loss: float | UnsetType = UNSET
    base_log_loss: float | UnsetType = UNSET
    roc_auc: float | UnsetType | None = UNSET
    pr_auc: float | UnsetType | None = UNSET
    calibration: list[BinResponse] | UnsetType = UNSET
    calibration_error: float | UnsetType = UNSET
    mae: float | UnsetType = UNSET
    rmse: float | UnsetType = UNSET
    base_mae: float | UnsetType = UNSET
    base_rmse: float | UnsetType = UNSET
    standard_error: float | None = None


class Quality(ABC):
    """The quality of one model, as of one record."""

    @property
    @abstractmethod
    def window(self) -> QualityResponse:
        """The figures of the newest examples, of which there are at most 10,000."""

    @property
    @abstractmethod
    def since(self) -> QualityResponse:
        """The figures of all examples since the start."""

    @property
    @abstractmethod
    def shows_enough(self) -> bool:
        """Whether the newest examples are enough to compare the model with anything."""

    @property
    @abstractmethod
    def trouble(self) -> str | None:
        """Why the model is not better than its base rate, or the running mean; None if it is."""


class OutcomeQuality(Quality):
    """The quality of scores that are probabilities.

    Raises:
        InvalidRecord: these are not the arrays of one.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._means = _floats(arrays, "means", (2,))
        self._counts = _ints(arrays, "counts", (BINS, 2))
        self._sums = _floats(arrays, "sums", (BINS,))
        self._scores = _floats(arrays, "window_scores")
        self._base_losses = _floats(arrays, "window_base_losses", self._scores.shape)
        words = _ints(arrays, "window_labels", (-(-len(self._scores) // 64),))
        self._positive = positives_of(words, len(self._scores))

    @cached_property
    def window(self) -> QualityResponse:
        """The figures of the newest examples."""
        places = np.minimum((self._scores * BINS).astype(np.int64), BINS - 1)
        counts = np.stack(
            [
                np.bincount(places, minlength=BINS),
                np.bincount(places[self._positive], minlength=BINS),
            ],
            axis=1,
        )
        sums = np.bincount(places, weights=self._scores, minlength=BINS).astype(np.float64)
        losses = log_losses(self._scores, self._positive)
        response = _outcomes(counts, sums, mean_of(losses), mean_of(self._base_losses))
        roc_auc, pr_auc = _areas(self._scores, self._positive)
        error = standard_error(losses - self._base_losses)
        return msgspec.structs.replace(
            response, roc_auc=roc_auc, pr_auc=pr_auc, standard_error=error
        )

    @cached_property
    def since(self) -> QualityResponse:
        """The figures of all examples."""
        return _outcomes(self._counts, self._sums, *self._means.tolist())

    @property
    def shows_enough(self) -> bool:
        """Whether there are enough of the newest examples, and of either outcome."""
        return len(self._scores) >= MIN_EXAMPLES and min(self._outcomes) >= MIN_OF_EITHER

    @property
    def _outcomes(self) -> tuple[int, int]:
        positives = int(self._positive.sum())
        return positives, len(self._positive) - positives

    @cached_property
    def trouble(self) -> str | None:
        """Why the model is not better than its base rate; None if it is."""
        if not self.shows_enough:
            positives, negatives = self._outcomes
            return (
                f"too few answers are known: {positives} positive and {negatives} negative ones, "
                f"where {MIN_EXAMPLES} are needed, and {MIN_OF_EITHER} of either"
            )
        window = self.window
        own, base = _figure(window.log_loss), _figure(window.base_log_loss)
        if is_clearly_less(own, base, window.standard_error):
            return None
        return _not_clearly_less("log loss", own, base, window.examples, "its base rate")


class ValueQuality(Quality):
    """The quality of scores that are values.

    Raises:
        InvalidRecord: these are not the arrays of one.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._examples = _count(arrays)
        self._means = _floats(arrays, "means", (4,))
        self._scores = _floats(arrays, "window_scores")
        self._base_scores = _floats(arrays, "window_base_scores", self._scores.shape)
        self._labels = _floats(arrays, "window_labels", self._scores.shape)

    @cached_property
    def window(self) -> QualityResponse:
        """The figures of the newest examples."""
        means: list[float] = []
        squared = []
        for scores in (self._scores, self._base_scores):
            errors = self._labels - scores
            squared.append(squares(errors))
            means += [mean_of(np.abs(errors)), mean_of(squared[-1])]
        response = _values(len(self._scores), means)
        error = standard_error(squared[0] - squared[1])
        return msgspec.structs.replace(response, standard_error=error)

    @cached_property
    def since(self) -> QualityResponse:
        """The figures of all examples."""
        return _values(self._examples, self._means.tolist())

    @property
    def shows_enough(self) -> bool:
        """Whether there are enough of the newest examples."""
        return len(self._scores) >= MIN_EXAMPLES

    @cached_property
    def trouble(self) -> str | None:
        """Why the model is not better than the running mean; None if it is."""
        if not self.shows_enough:
            known = len(self._scores)
            return f"too few answers are known: {known}, where {MIN_EXAMPLES} are needed"
        window = self.window
        own, base = _figure(window.rmse), _figure(window.base_rmse)
        if is_clearly_less(own**2, base**2, window.standard_error):
            return None
        return _not_clearly_less("RMSE", own, base, window.examples, "the running mean")


def _outcomes(counts: Ints, sums: Floats, log_loss: float, base_log_loss: float) -> QualityResponse:
    examples, positives = counts.sum(axis=0).tolist()
    bins = [
        BinResponse(
            number / BINS,
            (number + 1) / BINS,
            count,
            total / count if count else None,
            ones / count if count else None,
        )
        for number, ((count, ones), total) in enumerate(
            zip(counts.tolist(), sums.tolist(), strict=True)
        )
    ]
    distance = 0.0
    for one in bins:
        if one.mean_score is not None and one.rate is not None:
            distance += one.examples * abs(one.mean_score - one.rate)
    return QualityResponse(
        examples=examples,
        positives=positives,
        log_loss=log_loss,
        base_log_loss=base_log_loss,
        calibration=bins,
        calibration_error=distance / examples if examples else 0.0,
    )


def _values(examples: int, means: list[float]) -> QualityResponse:
    mae, mse, base_mae, base_mse = means
    return QualityResponse(
        examples=examples, mae=mae, rmse=mse**0.5, base_mae=base_mae, base_rmse=base_mse**0.5
    )


def _areas(scores: Floats, positive: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return the areas under the ROC curve and under the precision-recall curve."""
    distinct, places = np.unique(scores, return_inverse=True)
    counts = np.bincount(places, minlength=len(distinct))
    ones = np.bincount(places[positive], minlength=len(distinct))
    zeros = counts - ones
    positives, negatives = int(ones.sum()), int(zeros.sum())
    if not positives:
        return None, None
    hits, shown = np.cumsum(ones[::-1]), np.cumsum(counts[::-1])
    precision = float((hits / shown * ones[::-1]).sum() / positives)
    if not negatives:
        return None, precision
    # Twice the pairs that are ranked right; of equal scores, half of the pairs are.
    ranked = int((ones * (2 * np.cumsum(zeros) - zeros)).sum())
    return ranked / (2 * positives * negatives), precision


def _figure(value: float | UnsetType) -> float:
    assert isinstance(value, float), "quality of this kind has it"
    return value


def _not_clearly_less(figure: str, own: float, base: float, examples: int, whose: str) -> str:
    of = f"its {figure} of the newest {examples:,} answers, {own:.4f}"
    if own >= base:
        return f"{of}, is not less than that of {whose}, {base:.4f}"
    return (
        f"{of}, is not clearly less than that of {whose}, {base:.4f}: the difference is within "
        "two standard errors, so that chance can make it"
    )


def _floats(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...] = ()) -> Floats:
    array = _array(arrays, name, shape)
    if array.dtype != np.float64:
        raise InvalidRecord(_REASON, f"{name}: must be float64")
    return array.astype(np.float64, copy=False)


def _ints(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Ints:
    array = _array(arrays, name, shape)
    if array.dtype != np.int64:
        raise InvalidRecord(_REASON, f"{name}: must be int64")
    return array.astype(np.int64, copy=False)


def _count(arrays: Mapping[str, Array]) -> int:
    return int(_ints(arrays, "examples", (1,))[0])


def _array(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    array = arrays.get(name)
    if array is None:
        raise InvalidRecord(_REASON, f"{name}: is missing")
    if array.ndim != (len(shape) or 1) or (shape and array.shape != shape):
        raise InvalidRecord(_REASON, f"{name}: must be of shape {shape or '(n,)'}")
    return array
