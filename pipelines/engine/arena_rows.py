"""Rows whose events are in an arena: see `pipelines.engine.arena`."""

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.engine.arena import FREE_BLOCKS, TAIL
from pipelines.engine.constants import NONE
from pipelines.engine.operator import StateColumns
from pipelines.engine.row_kernels import COUNTERS
from pipelines.engine.rows import PersonRows
from pipelines.engine.timers import Timers


class ArenaRows(PersonRows):
    """Rows of a type as for `PersonRows`, the events of each, changes and timers."""

    def __init__(
        self,
        row: np.dtype[np.void],
        event: np.dtype[np.void],
        change: np.dtype[np.void],
        heads: int,
    ) -> None:
        super().__init__(row, heads)
        self.heads[FREE_BLOCKS:] = NONE
        self.tail = np.zeros(64, event)
        self.changes = np.zeros(256, change)
        self.counters = np.zeros(COUNTERS, np.int64)
        self.timers = Timers()

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        return sum(held.nbytes for held in (self.row_of, self.rows, self.tail, self.changes))

    def reserve_events(self, count: int) -> None:
        """Make room for blocks of `count` more places."""
        self.tail = grown(self.tail, int(self.heads[TAIL]) + count)

    def dump(self) -> StateColumns:
        """Copy the columns; `load` takes the copy over."""
        return super().dump() | {"tail": self.tail[: self.heads[TAIL]].copy()}

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""
        super().load(columns, stamp)
        # Snapshots keep the names that fields had when they were written: fields go by position.
        self.tail = columns["tail"].view(self.tail.dtype)
