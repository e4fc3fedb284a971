"""The columns of a metric of persons: what it keeps of them, and what its kernels write.

Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s, StructArray, UInt64s

HEADS: Final = 1  # only the number of rows

ROW: Final = np.dtype(
    [
        ("slot", np.int32),  # the person
        ("base", np.int32),  # the bucket of the first bit
        ("watermark", np.int32),  # events of buckets before it are late
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
        ("last_active", np.int64),  # a second, or NONE
    ],
    align=True,
)
# The person counts once more in the windows of one length that end with the buckets from `begin`
# to `end`, which is not one of them. For LAST_ACTIVE: the second before, and the second now.
# Of a BY_VALUE change, they count for `value` once more, or once less: `added` is 1 or -1.
CHANGE: Final = np.dtype(
    [
        ("window", np.int32),
        ("scope", np.int32),  # ALL or BY_VALUE
        ("begin", np.int64),
        ("end", np.int64),
        ("value", np.uint64),  # its hash
        ("added", np.int64),
    ]
)
LAST_ACTIVE: Final = -1  # in place of a window's number
ALL, BY_VALUE = range(2)


class ActiveShape(NamedTuple):
    """What a metric of persons comes down to, for kernels.

    `windows` are lengths in buckets, the longest last. A row has `words` of 64 bits, one bit a
    bucket. With a breakdown, `places` is for how many buckets it has the last event's time and
    value beside them; otherwise it is 0.
    """

    windows: Int64s
    words: int
    places: int


class ActiveEvents(NamedTuple):
    """Events in order of arrival, with the bucket, the time (ms) and the value's hash of each.

    `watermarks` are the buckets of the allowed lateness before each event.
    """

    slots: Int32s
    offsets: Int64s
    buckets: Int64s
    watermarks: Int64s
    at: Int64s
    values: UInt64s


class ActiveColumns(NamedTuple):
    """All columns of one metric of persons in one partition; see `RowColumns`.

    `bits` has the words of a row, then the time of the last event in each of the row's buckets, and
    then the hash of its value, as many as `ActiveShape.places`.
    """

    rows: StructArray
    bits: UInt64s
    changes: StructArray
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s
