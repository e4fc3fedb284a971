"""Learns and predicts like River's `StandardScaler | LogisticRegression`, to the last bit.

Each row is learned as `learn_one` and predicted as `predict_proba_one` (of a linear regression,
`predict_one`) of River 0.26 do it: the same operations on float64, in the same order, where every
feature is in every row and features have one order. The C library computes `exp` and `pow` for
River, so it has to for the kernels: see `Rule`. Nothing is compiled with fast math.

Divisions are `np.true_divide`, which has no check for a divisor of 0: that check would keep the
compiler from dividing several features at once. Divisors are counts, sums that are at least 1, and
deviations; what is divided by a deviation of 0 is not used.
"""

import math

import numpy as np

from pipelines.columnar.jit import Int, Int32s, Int64s, kernel
from pipelines.models.arrays import Float, Float64s, Rows
from pipelines.models.columns import ADAGRAD, LOG, LinearColumns, Rule

_MAX_GRADIENT = 1e12  # River's `clip_gradient`


@kernel
def learn(columns: LinearColumns, rule: Rule, rows: Rows, labels: Float64s) -> None:
    """Learn each row in turn: the scaler first, then the weights."""
    for i in range(len(rows)):
        _learn_one(columns, rule, rows[i], labels[i])


@kernel
def predict(
    columns: LinearColumns, rule: Rule, rows: Rows, scaled: Float64s, scores: Float64s
) -> None:
    """Write the score of each row to `scores`; `scaled` (features,) is scratch."""
    for i in range(len(rows)):
        scores[i] = _predict_one(columns, rule, rows[i], scaled)


@kernel
def fold(
    columns: LinearColumns,
    rule: Rule,
    rows: Rows,
    labels: Float64s,
    order: Int64s,
    scores: Float64s,
) -> None:
    """Predict row i for each i of `order` that is not negative, and learn row ~i for the others."""
    for step in range(len(order)):
        i = order[step]
        if i >= 0:
            scores[i] = _predict_one(columns, rule, rows[i], columns.scaled)
        else:
            _learn_one(columns, rule, rows[~i], labels[~i])


@kernel
def contribute(
    columns: LinearColumns, rows: Rows, scaled: Float64s, features: Int32s, values: Float64s
) -> None:
    """Write the features of each row that contribute most, and their weight times scaled value.

    `features` and `values` are (rows, k): the k largest by absolute value, the largest first, and
    of equal ones the first feature first.
    """
    count = len(columns.weights)
    for i in range(len(rows)):
        _scale(columns, rows[i], scaled)
        for j in range(count):
            scaled[j] *= columns.weights[j]
        for k in range(features.shape[1]):
            best: Int = 0
            for j in range(1, count):
                # What has been chosen is NaN, which is neither above nor below.
                if abs(scaled[j]) > abs(scaled[best]) or np.isnan(scaled[best]):
                    best = j
            features[i, k] = best
            values[i, k] = scaled[best]
            scaled[best] = np.nan


@kernel
def deviate(columns: LinearColumns, rule: Rule) -> None:
    """Compute the deviations of restored variances."""
    for j in range(len(columns.variances)):
        columns.deviations[j] = columns.variances[j] ** rule.half


@kernel
def _learn_one(columns: LinearColumns, rule: Rule, row: Rows, label: Float) -> None:
    columns.learned[0] += 1
    _scale_and_learn(columns, rule, row)
    raw = _raw(columns, columns.scaled)
    gradient = log_gradient(raw, label) if rule.loss == LOG else 2.0 * (raw - label)
    # As Python's min and max treat it, NaN stays what it is.
    if gradient > _MAX_GRADIENT:
        gradient = _MAX_GRADIENT
    elif gradient < -_MAX_GRADIENT:
        gradient = -_MAX_GRADIENT
    columns.intercept[0] -= rule.intercept_rate * gradient
    if rule.optimizer == ADAGRAD:
        _step_adagrad(columns, rule, gradient)
    else:
        for j in range(len(columns.weights)):
            columns.weights[j] -= rule.learning_rate * (columns.scaled[j] * gradient)


@kernel
def _scale_and_learn(columns: LinearColumns, rule: Rule, row: Rows) -> None:
    """Learn the mean and variance of each feature, then scale the row to `scaled`."""
    count = np.float64(columns.learned[0])
    means, variances, scaled = columns.means, columns.variances, columns.scaled
    for j in range(len(means)):
        value = np.float64(row[j])
        old = means[j]
        mean = old + np.true_divide(value - old, count)
        variance = variances[j]
        spread = (value - old) * (value - mean) - variance
        means[j] = mean
        variances[j] = variance + np.true_divide(spread, count)
    for j in range(len(means)):
        columns.deviations[j] = variances[j] ** rule.half
    _scale(columns, row, scaled)


@kernel
def _scale(columns: LinearColumns, row: Rows, scaled: Float64s) -> None:
    means, deviations = columns.means, columns.deviations
    for j in range(len(means)):
        deviation = deviations[j]
        value = np.true_divide(np.float64(row[j]) - means[j], deviation)
        scaled[j] = 0.0 if deviation == 0.0 else value


@kernel
def _raw(columns: LinearColumns, scaled: Float64s) -> Float:
    total = 0.0
    for j in range(len(scaled)):
        total += columns.weights[j] * scaled[j]
    return total + columns.intercept[0]


@kernel
def _predict_one(columns: LinearColumns, rule: Rule, row: Rows, scaled: Float64s) -> Float:
    _scale(columns, row, scaled)
    raw = _raw(columns, scaled)
    return sigmoid(raw) if rule.loss == LOG else raw


@kernel
def sigmoid(raw: Float) -> Float:
    """Return River's `sigmoid`, which is 0 or 1 beyond 30."""
    if raw < -30.0:
        return 0.0
    if raw > 30.0:
        return 1.0
    return np.true_divide(1.0, 1.0 + math.exp(-raw))


@kernel
def log_gradient(raw: Float, label: Float) -> Float:
    """Return the gradient of River's `Log` loss, which approximates beyond 18."""
    sign = -1.0 if label == 0.0 else 1.0
    margin = raw * sign
    if margin > 18.0:
        return math.exp(-margin) * -sign
    if margin < -18.0:
        return -sign
    return np.true_divide(-sign, math.exp(margin) + 1.0)


@kernel
def _step_adagrad(columns: LinearColumns, rule: Rule, gradient: Float) -> None:
    for j in range(len(columns.weights)):
        slope = columns.scaled[j] * gradient
        columns.squares[j] += slope**rule.two
        rate = np.true_divide(rule.learning_rate, (columns.squares[j] + rule.epsilon) ** rule.half)
        columns.weights[j] -= rate * slope
