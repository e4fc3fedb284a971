"""The columns of a sequence: what it keeps of persons, and what its kernels write.

They are few arrays of records rather than many of numbers: a row is one cache line, and kernels
compile far faster. Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s, Int64s, StructArray
from pipelines.engine.arena import FREE_BLOCKS
from pipelines.engine.days import UTC_DAYS

MAX_TAIL: Final = 1_024  # events of a row
_BLOCK_SIZES: Final = 10  # 2, 4, … 1,024 events

# A level is a number of steps, from the first on: 0 is none, `steps` is all.
ROW: Final = np.dtype(
    [
        ("watermark", np.int64),  # events before it are late
        ("slot", np.int32),  # the person
        ("newest_entry", np.int32),
        ("block", np.int32),  # where the row's events are in the tail
        ("length", np.int16),  # how many there are
        ("emitted", np.int16),  # how many of them, from the first on, are in what was emitted
        ("size_class", np.uint8),  # of the block, or NO_BLOCK
        ("closed_level", np.uint8),  # the furthest level on closed days
        ("emitted_level", np.uint8),  # the furthest level on any day, as emitted
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
    ],
    align=True,
)
# One per person and day on which they took the first step; a row's entries are a linked list,
# newest day first, and so are the free ones.
ENTRY: Final = np.dtype(
    [
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("row", np.int32),
        ("next_entry", np.int32),
        ("day", np.int32),
        ("timed_out_level", np.uint8),  # the level whose time-out has been announced
    ],
    align=True,
)
EVENT: Final = np.dtype([("at", np.int64), ("mask", np.uint32)])

STEP_CHANGE: Final = np.dtype(
    [
        ("before", np.int64),  # how long the person took to the step, NONE if it was not reached
        ("after", np.int64),
        ("at", np.int64),  # when it was reached
        ("row", np.int32),
        ("day", np.int32),  # on which the person took the first step; TOTAL: on any day
        ("step", np.int32),  # from 0
    ],
    align=True,
)
# What became of a timer: `row` is NONE if nothing changed.
STEP_TIMEOUT: Final = np.dtype(
    [
        ("at", np.int64),  # when the window closed
        ("due", np.int64),  # when the entry's next timer is due, 0 if it has none
        ("row", np.int32),  # to be logged at once: no event would bring the change back
        ("day", np.int32),
        ("step", np.int32),  # the last step reached before the window closed, NONE if it has not
    ],
    align=True,
)

# `times[e]` has shape (TIMES, steps), in ms. Starts count from the begin of the entry's day.
BASE_START: Final = 0  # start of the latest attempt that reached the step, tail excluded
BASE_DURATION: Final = 1  # from an attempt's start to the step, when first reached, tail excluded
EMITTED_DURATION: Final = 2  # the same, tail included: as emitted
START: Final = 3  # start of the latest attempt that reached the step, tail included
TIMES: Final = 4

# Places of `heads`. The number of rows is at 0, the arena's are at 3 and from 7 on.
ENTRIES: Final = 1
FREE_ENTRY: Final = 2
HEADS: Final = FREE_BLOCKS + _BLOCK_SIZES


class SequenceShape(NamedTuple):
    """What a definition of ordered steps comes down to."""

    steps: int
    window: int  # ms
    lateness: int  # ms
    days: Int64s = UTC_DAYS  # by which entries are counted


class SequenceColumns(NamedTuple):
    """All columns of one sequence in one partition; see `RowColumns` and `ArenaColumns`."""

    rows: StructArray
    entries: StructArray
    times: NDArray[np.signedinteger]  # 32 bits wide if the window fits
    tail: StructArray
    changes: StructArray
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s
    scratch: Int64s  # three numbers per step
