"""The columns of a cohort: what it keeps of persons, and what its kernels write.

Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s, StructArray, UInt32s, UInt64s
from pipelines.engine.constants import TOTAL

NO_PERIOD: Final = TOTAL + 1  # before every period
HEADS: Final = 1  # only the number of rows

ROW: Final = np.dtype(
    [
        ("slot", np.int32),  # the person
        ("first", np.int32),  # the period of their first start, or NO_PERIOD
        ("last", np.int32),  # the last period in which they returned, or NO_PERIOD
        ("base", np.int32),  # the period of the first bit
        ("watermark", np.int32),  # events of periods before it are late
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
    ],
    align=True,
)
CHANGE: Final = np.dtype(
    [
        ("value", np.uint64),  # its hash; 0 if the cohort is not broken down
        ("period", np.int32),
        ("column", np.int32),
        ("added", np.int32),
    ],
    align=True,
)

STARTS: Final = 1  # bits of an event's mask
RETURNS: Final = 2


class Shape(NamedTuple):
    """What a cohort's definition comes down to, for kernels."""

    periods: int
    words: int  # of 64 bits, one bit per period
    broken_down: bool


class CohortEvents(NamedTuple):
    """An `EventBatch`, with the period of each event and what it has set.

    `watermarks` are the periods of the allowed lateness before each event.
    """

    slots: Int32s
    at: Int64s
    masks: UInt32s
    offsets: Int64s
    periods: Int32s
    watermarks: Int32s
    values: UInt64s


class CohortColumns(NamedTuple):
    """All columns of one cohort in one partition; see `RowColumns`.

    `bits` has the words of a row and, if the cohort is broken down, two numbers more: the time of
    the first start, and its value.
    """

    rows: StructArray
    bits: UInt64s
    changes: StructArray
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s


def width(shape: Shape) -> int:
    """Return how many columns a cohort's aggregates have."""
    return 1 + 2 * shape.periods
