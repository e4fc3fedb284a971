"""The columns of a funnel with options: what it keeps of persons, and what its kernels write.

Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s, StructArray, UInt32s, UInt64s
from pipelines.engine.arena import FREE_BLOCKS
from pipelines.engine.constants import NEVER

MAX_EVENTS: Final = 4_096  # of a row
_BLOCK_SIZES: Final = 12  # 2, 4, … 4,096 events
# Places of `heads`: the number of rows is at 0, the arena's are at 3 and from 7 on.
HEADS: Final = FREE_BLOCKS + _BLOCK_SIZES

NO_TIMEOUT: Final = NEVER - 1  # `timed_out_until` at first, as it has always been logged
ROW: Final = np.dtype(
    [
        ("watermark", np.int64),  # events before it are late
        ("timed_out_until", np.int64),  # windows that closed before it have been announced
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("next_due", np.int64),  # when a window closes next, 0 if none does
        ("slot", np.int32),  # the person
        ("block", np.int32),  # where the row's events are in the tail
        ("length", np.int16),  # how many there are
        ("size_class", np.uint8),  # of the block, or NO_BLOCK
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
    ],
    align=True,
)
# An event that the funnel selects, or a summary of closed days, whose time is `CLOSED`: its mask
# has the steps that attempts with its value reached on those days.
EVENT: Final = np.dtype(
    [
        ("at", np.int64),
        ("held", np.uint64),  # hash of the values of the properties that are held constant
        ("value", np.uint64),  # hash of the value that the funnel is broken down by
        ("mask", np.uint32),
    ],
    align=True,
)
CLOSED: Final = NEVER  # earlier than any event

# A `STEP_CHANGE` of all attempts or of those with one value, and how many attempts more.
CHANGE: Final = np.dtype(
    [
        ("before", np.int64),
        ("after", np.int64),
        ("at", np.int64),
        ("row", np.int32),
        ("day", np.int32),
        ("step", np.int32),
        ("entries", np.int32),
        ("value", np.uint64),
        ("scope", np.uint8),
    ],
    align=True,
)
ALL, VALUE = 0, 1  # scopes: all attempts of a day, or those with one value

# What a person achieved on one day, or on all (`TOTAL`), in one scope.
OUTCOME: Final = np.dtype(
    [
        ("day", np.int64),
        ("latest", np.int64),  # the latest start of an attempt
        ("value", np.uint64),
        ("scope", np.int64),
    ]
)
# The numbers of an outcome, each per step:
AT: Final = 0  # when the step was first reached, NEVER if it was not
START: Final = 1  # the latest start of the attempts that reached it at that time
COUNT: Final = 2  # how many attempts reached it
NUMBERS: Final = 3


class Outcomes(NamedTuple):
    """The outcomes of one person; `numbers[i]` are those of outcome i, shape (NUMBERS, steps)."""

    records: StructArray
    numbers: Int64s


class FunnelEvents(NamedTuple):
    """An `EventBatch`, person after person, each in order of arrival; and what events have set."""

    slots: Int32s
    at: Int64s
    masks: UInt32s
    offsets: Int64s
    held: UInt64s
    values: UInt64s


class FunnelColumns(NamedTuple):
    """All columns of one funnel in one partition; see `RowColumns` and `ArenaColumns`."""

    rows: StructArray
    tail: StructArray
    changes: StructArray
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s
    before: Outcomes  # of the row that is being folded, before the batch
    after: Outcomes  # and after it
    reached: Int64s  # for `run_attempt`: two numbers a step
