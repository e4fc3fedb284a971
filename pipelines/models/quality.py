"""How good the scores of a model of an outcome are, beside its base rate: test, then train.

A score counts when its label is known, as it was when the question was asked. Figures are kept in
two spans: `since`, since the start, and `window`, of the newest `WINDOW` examples. Log loss and
calibration are exact in both. Areas under curves are exact in the window, and are not kept since
the start: that would take all scores.
"""

from typing import Final, NamedTuple, Self

import numpy as np

from pipelines.columnar.jit import Int64s, register_example
from pipelines.models import quality_kernel as kernel
from pipelines.models.arrays import Arrays, Float64s
from pipelines.models.parts import REASON, ArrayReader
from pipelines.models.ranking import average_precision, roc_auc
from pipelines.models.rows import checked_labels
from pipelines.models.window import Window
from schemas.errors import InvalidRecord
from schemas.significance import is_clearly_less, standard_error

WINDOW: Final = 10_000
# A window of fewer examples, or of fewer of either label, says nothing.
MIN_EXAMPLES: Final = 500
MIN_OF_EITHER: Final = 20
BINS: Final = kernel.BINS


class Bin(NamedTuple):
    """The examples whose scores are in one tenth of 0 … 1: `mean_score` of 0.3 should be `rate`.

    The n-th bin has the scores from n/10 on, the last one also 1. Both means are 0 if it is empty.
    """

    examples: int
    mean_score: float
    rate: float


class OutcomeFigures(NamedTuple):
    """The quality of scores in one span.

    Losses are mean log losses. `calibration_error` is the mean distance of score and rate of the
    bins, by examples. `roc_auc` and `pr_auc` are None where the span has no two labels (for the
    second, no positive), and since the start. `standard_error` is that of the mean difference of
    the two losses; None since the start.
    """

    examples: int
    positives: int
    log_loss: float
    base_log_loss: float
    roc_auc: float | None
    pr_auc: float | None
    calibration: tuple[Bin, ...]
    calibration_error: float
    standard_error: float | None = None


class OutcomeQuality:
    """Judges scores of outcomes. Not thread-safe.

    The log losses since the start have the bits of River's `metrics.LogLoss`.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.examples = 0
        self._means = np.zeros(2)  # of the losses of the model, and of the base rate
        self._counts = np.zeros((BINS, 2), np.int64)
        self._sums = np.zeros(BINS)
        self._window = Window(window, 3)  # scores, losses of the base rate, labels

    def add(self, scores: Float64s, base_scores: Float64s, labels: Float64s) -> Float64s:
        """Take in scores whose labels are known, in order; return the loss of each score.

        All are (examples,): scores and base scores between 0 and 1, labels 0 or 1.

        Raises:
            ValueError: they are not.
        """
        labels = checked_labels(labels, len(scores), outcomes=True)
        scores, base_scores = (_checked(part, len(labels)) for part in (scores, base_scores))
        losses, base_losses = np.empty(len(scores)), np.empty(len(scores))
        kernel.log_losses(scores, labels, losses)
        kernel.log_losses(base_scores, labels, base_losses)
        kernel.advance(self._means, 0, self.examples, losses)
        kernel.advance(self._means, 1, self.examples, base_losses)
        kernel.count_bins(scores, labels, self._counts, self._sums)
        self._window.add(scores, base_losses, labels)
        self.examples += len(scores)
        return losses

    def since(self) -> OutcomeFigures:
        """Return the figures since the start."""
        log_loss, base = self._means.tolist()
        return _figures(self._counts, self._sums, log_loss, base, None, None)

    def window(self) -> OutcomeFigures:
        """Return the figures of the newest examples. Sorts them: about a millisecond."""
        scores, base_losses, labels = self._window.columns()
        losses = np.empty(len(scores))
        kernel.log_losses(scores, labels, losses)
        counts, sums = np.zeros((BINS, 2), np.int64), np.zeros(BINS)
        kernel.count_bins(scores, labels, counts, sums)
        positive = labels != 0
        figures = _figures(
            counts,
            sums,
            float(kernel.mean_of(losses)),
            float(kernel.mean_of(base_losses)),
            roc_auc(scores, positive),
            average_precision(scores, positive),
        )
        return figures._replace(standard_error=standard_error(losses - base_losses))

    def arrays(self) -> Arrays:
        """Return the state, copied; labels as bits, the first in the lowest of the first number."""
        scores, base_losses, labels = self._window.columns()
        bits = np.packbits(labels != 0, bitorder="little")
        words = np.zeros(8 * -(-len(bits) // 8), np.uint8)
        words[: len(bits)] = bits
        return {
            "examples": np.array([self.examples], np.int64),
            "means": self._means.copy(),
            "counts": self._counts.copy(),
            "sums": self._sums.copy(),
            "window_scores": scores,
            "window_base_losses": base_losses,
            "window_labels": words.view("<i8").astype(np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, window: int = WINDOW) -> Self:
        """Return the quality whose `arrays` these are, which had the same window.

        Raises:
            InvalidRecord: they are not the state of one.
        """
        quality = cls(window)
        with ArrayReader(arrays) as reader:
            quality.examples = reader.count("examples")
            kept = min(quality.examples, window)
            quality._means[:] = reader.floats("means", (2,), least=0.0)
            quality._counts[:] = reader.ints("counts", (BINS, 2), 0, quality.examples)
            quality._sums[:] = reader.floats("sums", (BINS,), least=0.0)
            scores = reader.floats("window_scores", (kept,), least=0.0)
            base_losses = reader.floats("window_base_losses", (kept,), least=0.0)
            words = reader.ints("window_labels", (-(-kept // 64),), -(2**63), 2**63 - 1)
        counts = quality._counts
        if counts[:, 0].sum() != quality.examples or (counts[:, 1] > counts[:, 0]).any():
            raise InvalidRecord(REASON, "counts: must add up to examples")
        if (scores > 1).any():
            raise InvalidRecord(REASON, "window_scores: must be at most 1")
        bits = np.unpackbits(words.astype("<i8").view(np.uint8), count=kept, bitorder="little")
        quality._window.add(scores, base_losses, bits.astype(np.float64))
        return quality


def better_than_base(figures: OutcomeFigures) -> bool:
    """Return whether a model has shown to be better than its base rate, by its window's figures.

    It has if the window holds at least 500 examples, of these 20 positives and 20 negatives, and
    its log loss is less than that of the base rate by more than two standard errors of the mean
    difference. Otherwise its scores are withheld.
    """
    negatives = figures.examples - figures.positives
    return (
        figures.examples >= MIN_EXAMPLES
        and min(figures.positives, negatives) >= MIN_OF_EITHER
        and is_clearly_less(figures.log_loss, figures.base_log_loss, figures.standard_error)
    )


def _figures(
    counts: Int64s,
    sums: Float64s,
    log_loss: float,
    base_log_loss: float,
    auc: float | None,
    precision: float | None,
) -> OutcomeFigures:
    examples, positives = counts.sum(axis=0).tolist()
    bins = tuple(
        Bin(count, total / count, ones / count) if count else Bin(0, 0.0, 0.0)
        for (count, ones), total in zip(counts.tolist(), sums.tolist(), strict=True)
    )
    distance = sum(one.examples * abs(one.mean_score - one.rate) for one in bins)
    return OutcomeFigures(
        examples,
        positives,
        log_loss,
        base_log_loss,
        auc,
        precision,
        bins,
        distance / examples if examples else 0.0,
    )


def _checked(scores: Float64s, count: int) -> Float64s:
    scores = np.require(scores, np.float64, ["C", "W", "A"])
    if scores.shape != (count,) or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"scores must be ({count},) and between 0 and 1")
    return scores


@register_example
def _precompile() -> None:
    quality = OutcomeQuality(1)
    quality.add(np.zeros(1), np.zeros(1), np.zeros(1))
    quality.window()
