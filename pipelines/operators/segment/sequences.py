"""The sequences in a segment's rule: who has completed their steps in order."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Int, Int32s, Int64s, UInt32s, kernel, register_example
from pipelines.engine.constants import NONE
from pipelines.engine.operator import Packed, StateColumns
from pipelines.engine.person_record import Part
from pipelines.engine.row_kernels import EventBatch
from pipelines.operators.segment.program import StepSequence
from pipelines.operators.sequence import SequenceShape, SequenceState

_MAX_ROUNDS: Final = 32


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
        self._counts = np.zeros(0, np.int32)  # of the events of persons; 0 between calls

    def __len__(self) -> int:
        return len(self._states)

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""
        return self._counts.nbytes + sum(state.nbytes for state in self._states)

    def fold(self, persons: int, events: EventBatch) -> Progress:
        """Fold events into the sequences.

        Those of persons who have completed a sequence count on in it, so that the rows, and which
        events are late, do not depend on where batches end. Nor does the event that completes one:
        events are folded in rounds, each with one event of a person. After `_MAX_ROUNDS` the rest
        is one round, whose last event of a person is taken for the one that completed it.
        """
        completed = np.zeros(len(events.at), np.uint32)
        newly_dirty, late = [np.empty(0, np.int32)], 0
        for number, sequence in enumerate(self._sequences):
            state = self._states[number]
            steps = np.zeros(len(events.at), np.uint32)
            for step, bit in enumerate(sequence.bits):
                steps |= (events.masks >> np.uint32(bit) & np.uint32(1)) << np.uint32(step)
            for places in self._rounds(persons, events.slots, np.flatnonzero(steps)):
                slots = events.slots[places]
                before = state.completed(slots)
                folded = state.fold(
                    persons, slots, events.at[places], steps[places], events.offsets[places]
                )
                late += folded.late
                newly_dirty.append(state.persons_of(folded.newly_dirty))
                new = places[state.completed(slots) & ~before]
                _, from_the_end = np.unique(events.slots[new][::-1], return_index=True)
                completed[new[len(new) - 1 - from_the_end]] |= np.uint32(1 << number)
        return Progress(completed, np.concatenate(newly_dirty), late)

    def _rounds(self, persons: int, slots: Int32s, places: Int64s) -> Iterator[Int64s]:
        """Yield the places of events, in rounds that have at most one of a person."""
        if not len(places):
            return
        self._counts = grown(self._counts, persons)
        ranks = np.empty(len(places), np.int32)
        last = min(rank_within_persons(self._counts, slots[places], ranks), _MAX_ROUNDS)
        if last == 0:
            yield places
            return
        ranks = np.minimum(ranks, last)
        for rank in range(last + 1):
            yield places[ranks == rank]

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


@kernel
def rank_within_persons(counts: Int32s, slots: Int32s, ranks: Int32s) -> Int:
    """Write how many events of its person come before each event; return the highest of them.

    `counts` has a 0 for each person, before and after.
    """
    highest = np.int64(0)
    for i in range(len(slots)):
        ranks[i] = counts[slots[i]]
        counts[slots[i]] += 1
        highest = max(highest, np.int64(ranks[i]))
    for slot in slots:
        counts[slot] = 0
    return highest


@register_example
def _rank_one() -> None:
    rank_within_persons(*np.zeros((3, 1), np.int32))
