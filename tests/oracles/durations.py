"""Sketches of times: bucket b holds the whole milliseconds of (g^(b-1), g^b], g = 1.01/0.99.

Bucket 0 holds 0 and 1.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Sketch(NamedTuple):
    """How many times are in each bucket, and their sum (ms)."""

    counts: dict[int, int]
    sum_ms: int


def sketch_of(times: Iterable[int]) -> Sketch:
    """Sort times (ms) into their buckets."""
    times = list(times)
    return Sketch(dict(Counter(map(bucket_of, times))), sum(times))


def bucket_of(ms: int) -> int:
    """The bucket of a time: the least b with ms <= (101/99)^b, in whole numbers."""
    bucket, above, below = 0, 1, 1
    while ms > above // below:
        bucket, above, below = bucket + 1, above * 101, below * 99
    return bucket
