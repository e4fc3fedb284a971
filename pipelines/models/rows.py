"""Checks rows and labels before a model sees them.

A model that has learned one NaN has no other weights for ever, an infinite value gives a score of 1
for ever, and one outlier flattens a feature. So rows that are not finite are refused, and features
are clipped.
"""

import numpy as np

from pipelines.columnar.jit import AnyArray, Bools, Int64s
from pipelines.models.arrays import Float64s, Rows


def finite_rows(rows: Rows, labels: Float64s | None = None) -> Bools:
    """Return for each row whether all its features, and its label if given, are finite."""
    finite: Bools = np.asarray(np.isfinite(rows).all(axis=1))
    return finite if labels is None else finite & np.isfinite(labels)


def clipped(rows: Rows, bound: float) -> Rows:
    """Return the rows with each feature limited to -bound … bound; NaN stays NaN."""
    limit = rows.dtype.type(bound)
    limited: Rows = np.clip(rows, -limit, limit)
    return limited


def interleaved(count: int) -> Int64s:
    """Return the order (see `Model.fold`) that scores each of `count` rows, then learns it."""
    order = np.empty(2 * count, np.int64)
    order[::2] = np.arange(count)
    order[1::2] = ~np.arange(count)
    return order


def checked_rows(rows: Rows, features: int, *, learned: bool = False) -> Rows:
    """Return the rows as the kernels take them, copied only if necessary.

    Kernels are compiled for arrays that are contiguous and writable.

    Raises:
        ValueError: they are not of that shape, not floats, or are `learned` and not finite.
    """
    if rows.ndim != 2 or rows.shape[1] != features:
        raise ValueError(f"rows must be (rows, {features}), and are {rows.shape}")
    if rows.dtype not in (np.float32, np.float64):
        raise ValueError(f"rows must be float32 or float64, and are {rows.dtype}")
    if learned and not np.isfinite(rows).all():
        raise ValueError("rows to learn must be finite: see finite_rows")
    return _required(rows)


def checked_labels(labels: Float64s, rows: int, *, outcomes: bool) -> Float64s:
    """Return the labels as the kernels take them.

    Raises:
        ValueError: not one for each row, not finite, or (of outcomes) other than 0 and 1.
    """
    labels = _required(np.asarray(labels, np.float64))
    if labels.shape != (rows,):
        raise ValueError(f"labels must be ({rows},), and are {labels.shape}")
    if outcomes and not (labels * labels == labels).all():
        raise ValueError("labels of an outcome must be 0 or 1")
    if not np.isfinite(labels).all():
        raise ValueError("labels must be finite")
    return labels


def checked_order(order: Int64s, rows: int) -> Int64s:
    """Return the order as the kernels take it.

    Raises:
        ValueError: it names a row that does not exist.
    """
    order = _required(np.asarray(order, np.int64))
    if order.ndim != 1 or (len(order) and not (-rows <= order.min() and order.max() < rows)):
        raise ValueError(f"the order must be one-dimensional and name rows below {rows}")
    return order


def _required(array: AnyArray) -> AnyArray:
    if array.flags.carray:  # contiguous, writable and aligned
        return array
    return np.require(array, requirements=["C", "W", "A"])
