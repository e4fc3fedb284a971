"""A sketch of durations: counts in buckets that grow by 2 %, for quantiles within 1 %.

Bucket b holds the whole milliseconds of (g^(b-1), g^b] with g = 1.01/0.99; bucket 0 holds 0 and 1.
The edges are integers computed without rounding, so that every implementation puts a duration into
the same bucket. Sketches merge exactly: the counts of equal buckets add up.
"""

from collections.abc import Iterable
from itertools import count, takewhile
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

GROWTH: Final = 1.01 / 0.99
_MAX_MS: Final = 2**63 - 1

# The last millisecond of each bucket, floor((101/99)^b); the last bucket has no upper limit.
EDGES: Final[NDArray[np.int64]] = np.fromiter(
    [
        *takewhile(lambda edge: edge < _MAX_MS, (101**b // 99**b for b in count())),
        _MAX_MS,
    ],
    np.int64,
)
EDGES.setflags(write=False)


class Sketch(NamedTuple):
    """Counted durations: `buckets` ascending and unique, `counts` above 0, `sum_ms` exact.

    `min_ms` and `max_ms` are the shortest and the longest that were ever counted, None if unknown.
    """

    buckets: NDArray[np.int32]
    counts: NDArray[np.int64]
    sum_ms: int
    min_ms: int | None = None
    max_ms: int | None = None


EMPTY: Final = Sketch(np.empty(0, np.int32), np.empty(0, np.int64), 0)


def bucket_of(ms: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the bucket of each duration in `ms`, none of which may be negative."""
    return np.searchsorted(EDGES, ms).astype(np.int32)


def value_of(bucket: int) -> float:
    """Return the duration that represents `bucket`: within 1 % of every duration in it.

    Bucket 0 is 0 ms, since two steps at one moment are common and two steps 1 ms apart are not.
    """
    return 0.99 * GROWTH**bucket if bucket else 0.0


def sketch_of(ms: NDArray[np.int64]) -> Sketch:
    """Return the sketch of the durations `ms`, in any order."""
    made = collect(bucket_of(ms), np.ones(len(ms), np.int64), int(ms.sum()))
    return made._replace(min_ms=int(ms.min()), max_ms=int(ms.max())) if len(ms) else made


def collect(
    buckets: NDArray[np.int32],
    counts: NDArray[np.int64],
    sum_ms: int,
    min_ms: int | None = None,
    max_ms: int | None = None,
) -> Sketch:
    """Return the sketch of counted buckets, in any order; counts of repeated buckets add up."""
    unique, places = np.unique(buckets, return_inverse=True)
    summed = np.zeros(len(unique), np.int64)
    np.add.at(summed, places, counts)
    kept = summed > 0
    return Sketch(unique[kept], summed[kept], sum_ms, min_ms, max_ms)


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """Return the sum of sketches; `EMPTY` if there are none."""
    parts = list(sketches)
    if len(parts) == 1:
        return parts[0]
    counted = [part for part in parts if len(part.counts)]
    shortest = [part.min_ms for part in counted if part.min_ms is not None]
    longest = [part.max_ms for part in counted if part.max_ms is not None]
    return collect(
        np.concatenate([part.buckets for part in parts] or [EMPTY.buckets]),
        np.concatenate([part.counts for part in parts] or [EMPTY.counts]),
        sum(part.sum_ms for part in parts),
        min(shortest) if counted and len(shortest) == len(counted) else None,
        max(longest) if counted and len(longest) == len(counted) else None,
    )


def moved_by(
    sketch: Sketch, counts: NDArray[np.int64], sum_ms: int, min_ms: int, max_ms: int
) -> Sketch:
    """Return a sketch with `counts` added, one for each bucket: shape (len(EDGES),).

    A count below 0 removes durations, which must be in the sketch. What is added lies between
    `min_ms` and `max_ms`; if nothing is, the first is above the second.
    """
    counts = counts.copy()
    counts[sketch.buckets] += sketch.counts
    kept = np.flatnonzero(counts)
    if len(sketch.counts):
        min_ms = min(min_ms, sketch.min_ms) if sketch.min_ms is not None else -1
        max_ms = max(max_ms, sketch.max_ms) if sketch.max_ms is not None else -1
    known = len(kept) and min_ms >= 0 and max_ms >= 0
    return Sketch(
        kept.astype(np.int32),
        counts[kept],
        sketch.sum_ms + sum_ms,
        min_ms if known else None,
        max_ms if known else None,
    )


def mean(sketch: Sketch) -> float | None:
    """Return the exact mean; None if the sketch is empty."""
    total = int(sketch.counts.sum())
    return sketch.sum_ms / total if total else None


def quantile(sketch: Sketch, q: float) -> float | None:
    """Return the quantile `q` (above 0, at most 1); None if the sketch is empty.

    It represents the duration of rank ceil(q * n) in ascending order, and lies within what was
    counted, if that is known.
    """
    cumulative = np.cumsum(sketch.counts)
    if not len(cumulative):
        return None
    rank = np.ceil(q * cumulative[-1])
    value = value_of(int(sketch.buckets[np.searchsorted(cumulative, rank)]))
    if sketch.min_ms is None or sketch.max_ms is None:
        return value
    return float(min(max(value, sketch.min_ms), sketch.max_ms))
