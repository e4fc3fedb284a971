"""The columns of a segment: what it keeps of persons, and what its kernels read and write.

Snapshots are read by position: the order and size of fields must not change.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s, Int64s, StructArray, UInt32s
from pipelines.engine.constants import NEVER
from pipelines.engine.row_kernels import DueTimers

# Places of `heads`: the number of rows is at 0, places between are unused.
CLOCK: Final = 4  # how far time has come (ms), NEVER at first
HEADS: Final = 5

ROW: Final = np.dtype(
    [
        ("until", np.int64),  # when to evaluate again: FOREVER, or RECHECK for at once
        ("timer", np.int64),  # when its timer is due, 0 if it has none
        ("slot", np.int32),  # the person
        ("member", np.uint8),
        ("logged_member", np.uint8),  # as logged, while a partition is being restored
        ("published", np.uint8),  # whether the person ever entered or left
        ("dirty", np.uint8),  # IN_BATCH, UNLOGGED
    ],
    align=True,
)
RECHECK: Final = NEVER

CHANGE: Final = np.dtype(
    [
        ("at", np.int64),  # since when the person is in or out
        ("event_at", np.int64),  # the time of the event that made it so, NEVER if it was time
        ("row", np.int32),
        ("entered", np.int32),  # 1, or 0 if they left
    ],
    align=True,
)

# What an event says of a condition on a property of persons.
UNSET: Final = 0  # it does not set the property
FAILS: Final = 1
HOLDS: Final = 2


class CompiledRule(NamedTuple):
    """The parts of a `Program` that kernels run, and room for its operands."""

    registers: StructArray
    code: StructArray
    blank: Int64s
    values: Int64s
    untils: Int64s


class SegmentEvents(NamedTuple):
    """An `EventBatch`, and what its events say of properties and complete of sequences.

    `clocks` are the times up to which they move the clock. `verdicts[i, j]` is what event i says of
    condition j; bit j of `completed[i]`: with event i, the person has completed sequence j.
    """

    slots: Int32s
    at: Int64s
    masks: UInt32s
    offsets: Int64s
    clocks: Int64s
    verdicts: NDArray[np.uint8]
    completed: UInt32s


class SegmentColumns(NamedTuple):
    """All columns of one segment in one partition; see `RowColumns`."""

    rows: StructArray
    cells: Int64s
    changes: StructArray
    heads: Int64s
    counters: Int64s
    row_of: Int32s
    stamps: Int64s
    dirty: Int32s
    timers: DueTimers  # to be set after the batch: room for one per event
