"""Areas under curves, log loss and calibration, by their definitions."""

import math
from collections.abc import Sequence


def roc_auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The share of pairs of a positive and a negative that are in order; a tie is half."""
    positives = [score for score, label in zip(scores, labels, strict=True) if label]
    negatives = [score for score, label in zip(scores, labels, strict=True) if not label]
    if not positives or not negatives:
        return None
    doubled = sum(2 * (p > n) + (p == n) for p in positives for n in negatives)
    return doubled / (2 * len(positives) * len(negatives))


def average_precision(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The sum over thresholds, from the highest, of what recall gains times the precision."""
    positives = sum(labels)
    if not positives:
        return None
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        recall = sum(chosen) / positives
        total += (recall - before) * sum(chosen) / len(chosen)
        before = recall
    return total


def log_loss(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """The mean of -ln of what each label was given, of scores limited to 1e-15 … 1 - 1e-15."""
    total = 0.0
    for score, label in zip(scores, labels, strict=True):
        limited = min(max(score, 1e-15), 1 - 1e-15)
        total += -math.log(limited if label else 1 - limited)
    return total / len(scores) if scores else 0.0


def calibration(scores: Sequence[float], labels: Sequence[bool]) -> list[tuple[int, float, float]]:
    """Of each tenth: how many scores are in it, their mean, and the share of positives."""
    tenths: list[list[tuple[float, bool]]] = [[] for _ in range(10)]
    for score, label in zip(scores, labels, strict=True):
        tenths[min(int(score * 10), 9)].append((score, label))
    table = []
    for tenth in tenths:
        count = len(tenth)
        total = 0.0
        for score, _ in tenth:
            total += score
        rate = sum(label for _, label in tenth) / count if count else 0.0
        table.append((count, total / count if count else 0.0, rate))
    return table


def calibration_error(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """The mean distance of score and share in the tenths, by how many scores are in each."""
    table = calibration(scores, labels)
    distance = sum(count * abs(score - rate) for count, score, rate in table)
    return distance / len(scores) if scores else 0.0
