"""How well scores rank positives above negatives: exact, from all scores at once."""

import numpy as np

from pipelines.columnar.jit import Bools
from pipelines.models.arrays import Float64s


def roc_auc(scores: Float64s, positive: Bools) -> float | None:
    """Return the area under the ROC curve; None if there are not both labels.

    It is the share of pairs of a positive and a negative in which the positive has the higher
    score, where equal scores count half. Pairs are counted as integers, so it is exact.
    """
    positives = int(positive.sum())
    pairs = positives * (len(scores) - positives)
    if not pairs:
        return None
    counted, ones = _by_score(scores, positive)
    zeros = counted - ones
    below = np.cumsum(zeros) - zeros
    return int((ones * (2 * below + zeros)).sum()) / (2 * pairs)


def average_precision(scores: Float64s, positive: Bools) -> float | None:
    """Return the area under the precision-recall curve; None without a positive.

    It is average precision: the sum, over the scores from the highest, of the precision at the
    score times the share of positives that have it.
    """
    positives = int(positive.sum())
    if not positives:
        return None
    counted, ones = (counts[::-1] for counts in _by_score(scores, positive))
    precision = np.cumsum(ones) / np.cumsum(counted)
    return float((precision * ones).sum() / positives)


def _by_score(scores: Float64s, positive: Bools) -> tuple[np.ndarray, np.ndarray]:
    """Return for each different score, the lowest first, how many have it, and are positive."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(begins[1:], len(scores))
    ones = np.append(0, np.cumsum(positive[order]))
    return ends - begins, ones[ends] - ones[begins]
