"""Times as a sketch: counts in buckets that grow by 2 %, so that any quantile is known to 1 %.

Bucket b holds the whole milliseconds of (g^(b-1), g^b] with g = 1.01/0.99; bucket 0 holds 0 and 1.
The edges are whole numbers computed without rounding, so that whoever sorts a time into a bucket
puts it into the same one. Counts of equal buckets add up: sketches of partitions merge exactly.
"""

from collections.abc import Iterable
from itertools import count, takewhile
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

GROWTH: Final = 1.01 / 0.99
_MAX_MS: Final = 2**63 - 1

# The greatest whole millisecond of each bucket, floor((101/99)^b); the last bucket takes the rest.
EDGES: Final[NDArray[np.int64]] = np.fromiter(
    [
        *takewhile(lambda edge: edge < _MAX_MS, (101**b // 99**b for b in count())),
        _MAX_MS,
    ],
    np.int64,
)
EDGES.setflags(write=False)


class Sketch(NamedTuple):
    """Times in buckets: `buckets` ascending and unique, `counts` above 0, `sum_ms` exact."""

    buckets: NDArray[np.int32]
    counts: NDArray[np.int64]
    sum_ms: int


EMPTY: Final = Sketch(np.empty(0, np.int32), np.empty(0, np.int64), 0)


def bucket_of(ms: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the bucket of each time in `ms`, none of which may be negative."""
    return np.searchsorted(EDGES, ms).astype(np.int32)


def value_of(bucket: int) -> float:
    """Return the time that stands for `bucket`: within 1 % of every time in it.

    Bucket 0 is 0 ms, since two steps of one moment are common and 1 ms apart is not.
    """
    return 0.99 * GROWTH**bucket if bucket else 0.0


def sketch_of(ms: NDArray[np.int64]) -> Sketch:
    """Sketch the times `ms`, in any order."""
    return collect(bucket_of(ms), np.ones(len(ms), np.int64), int(ms.sum()))


def collect(buckets: NDArray[np.int32], counts: NDArray[np.int64], sum_ms: int) -> Sketch:
    """Make a sketch of counted buckets in any order, which may repeat; the counts add up."""
    unique, places = np.unique(buckets, return_inverse=True)
    summed = np.zeros(len(unique), np.int64)
    np.add.at(summed, places, counts)
    kept = summed > 0
    return Sketch(unique[kept], summed[kept], sum_ms)


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """Add sketches up; none of them gives `EMPTY`."""
    parts = list(sketches)
    if len(parts) == 1:
        return parts[0]
    return collect(
        np.concatenate([part.buckets for part in parts] or [EMPTY.buckets]),
        np.concatenate([part.counts for part in parts] or [EMPTY.counts]),
        sum(part.sum_ms for part in parts),
    )


def moved_by(sketch: Sketch, counts: NDArray[np.int64], sum_ms: int) -> Sketch:
    """Add to a sketch the `counts` of all buckets, shape (len(EDGES),), of times that come and go.

    A count below 0 takes times away, which must be in the sketch.
    """
    counts = counts.copy()
    counts[sketch.buckets] += sketch.counts
    kept = np.flatnonzero(counts)
    return Sketch(kept.astype(np.int32), counts[kept], sketch.sum_ms + sum_ms)


def mean(sketch: Sketch) -> float | None:
    """Return the mean time, exact; None where there are no times."""
    total = int(sketch.counts.sum())
    return sketch.sum_ms / total if total else None


def quantile(sketch: Sketch, q: float) -> float | None:
    """Return the time that a share `q` (above 0, at most 1) of all times does not exceed.

    It stands for the time of rank ceil(q * n) in ascending order; None where there are no times.
    """
    cumulated = np.cumsum(sketch.counts)
    if not len(cumulated):
        return None
    rank = np.ceil(q * cumulated[-1])
    return value_of(int(sketch.buckets[np.searchsorted(cumulated, rank)]))
