"""The sequences in a segment's rule: who has completed their steps in order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.columnar.jit import Int32s, UInt32s
from pipelines.engine.constants import NONE
from pipelines.engine.operator import Packed, StateColumns
from pipelines.engine.person_record import Part
from pipelines.engine.row_kernels import EventBatch
from pipelines.operators.segment.program import StepSequence
from pipelines.operators.sequence import SequenceShape, SequenceState


class Progress(NamedTuple):
    """What a batch did to a segment's sequences."""

    completed: UInt32s  # bit j of event i: with it, the person has completed sequence j
    newly_dirty: Int32s  # persons who have a row to be logged that was not waiting for it
    late: int


class Sequences:
    """The states of a segment's sequences, in the order of its program."""

    def __init__(self, sequences: Sequence[StepSequence], lateness_ms: int) -> None:
        self._sequences = sequences
        self._states = [
            SequenceState(
                SequenceShape(len(sequence.bits), sequence.window_ms, lateness_ms), by_day=False
            )
            for sequence in sequences
        ]

    def __len__(self) -> int:
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        return sum(state.nbytes for state in self._states)

    def fold(self, persons: int, events: EventBatch) -> Progress:
        """Fold events into the sequences.

        Those of persons who have completed a sequence count on in it, so that the rows, and which
        events are late, do not depend on where batches end. If a person completes one with a batch,
        the last of the batch's events that are steps of it is taken for the one that completed it.
        """
        completed = np.zeros(len(events.at), np.uint32)
        newly_dirty, late = [np.empty(0, np.int32)], 0
        for number, sequence in enumerate(self._sequences):
            state = self._states[number]
            steps = np.zeros(len(events.at), np.uint32)
            for step, bit in enumerate(sequence.bits):
                steps |= (events.masks >> np.uint32(bit) & np.uint32(1)) << np.uint32(step)
            places = np.flatnonzero(steps)
            if not len(places):
                continue
            slots = events.slots[places]
            before = state.completed(slots)
            folded = state.fold(
                persons, slots, events.at[places], steps[places], events.offsets[places]
            )
            late += folded.late
            newly_dirty.append(state.persons_of(folded.newly_dirty))
            places = places[state.completed(slots) & ~before]
            _, from_the_end = np.unique(events.slots[places][::-1], return_index=True)
            completed[places[len(places) - 1 - from_the_end]] |= np.uint32(1 << number)
        return Progress(completed, np.concatenate(newly_dirty), late)

    def expire(self, now: int) -> None:
        """Take the timers that are due at `now` (ms): a segment announces no window that closes."""
        for state in self._states:
            state.expire(now)

    def pack(self, persons: Int32s, stamp: int) -> list[Part]:
        """Pack the rows of persons: a part per sequence, whose tag is its number from 1."""
        parts = []
        for number, state in enumerate(self._states, 1):
            rows = state.rows_of(persons)
            places = np.flatnonzero(rows != NONE)
            parts.append(Part(np.uint64(number), places, state.pack(rows[places], stamp)))
        return parts

    def unpack(self, number: int, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of persons by logged ones, of the sequence with this number from 1."""
        self._states[number - 1].unpack(persons, slots, packed)

    def restored(self) -> None:
        """Count every event from now on: the states are complete."""
        for state in self._states:
            state.restored()

    def dump(self) -> StateColumns:
        """Copy the columns; `load` takes the copy over."""
        return {
            f"{number}.{name}": column
            for number, state in enumerate(self._states)
            for name, column in state.dump().items()
        }

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`; other columns are ignored."""
        for number, state in enumerate(self._states):
            prefix = f"{number}."
            own = {
                name.removeprefix(prefix): column
                for name, column in columns.items()
                if name.startswith(prefix)
            }
            state.load(own, stamp)
