"""Events of the past, collected in the order of the log and given back in the order of time.

What a definition selects is held in columns, some 40 bytes an event. Where memory does not suffice
for all, persons can be taken in passes, by their hashes: a person's events are always together.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from pipelines.columnar.dictionary import DictionaryColumn, Rows
from pipelines.columnar.growable import grown
from pipelines.columnar.jit import Bools, Int32s, Int64s, kernel, register_example
from pipelines.engine.constants import NEVER
from pipelines.engine.operator import C_co, PersonState
from pipelines.matching.match import Key, Masks, Values
from pipelines.matching.value_hash import ValueHashes

_BATCH: Final = 50_000  # events
_SAMPLED: Final = 500  # one in that many times is looked at to divide events into batches
_HASHES: Final = 2**32
_HASH_FACTOR: Final = np.uint32(2_654_435_761)
_VALUE_BYTES: Final = 100  # of a distinct value in a column, roughly


class SelectedEvents(NamedTuple):
    """Events that a definition selects, as `PersonState.fold` takes them."""

    slots: Int32s
    at: Int64s
    masks: Masks
    offsets: Int64s
    values: Values = ()

    def cut(self, part: Rows) -> "SelectedEvents":
        """Return some of the events."""
        values = [column.cut(part) for column in self.values]
        return SelectedEvents(
            self.slots[part], self.at[part], self.masks[part], self.offsets[part], values
        )

    def compact(self) -> "SelectedEvents":
        """Return the same events, holding no values of others."""
        return self._replace(values=[column.compact() for column in self.values])

    @property
    def nbytes(self) -> int:
        """The memory that they take, roughly."""
        own = sum(column.nbytes for column in self[:4])
        return own + sum(map(_nbytes, self.values))


class Corrections(Protocol[C_co]):
    """Finds what a recount corrects of what was announced of persons.

    It is given the events of those persons alone whose events did not come in order of time.
    """

    def fold_history(self, persons: int, events: SelectedEvents) -> Iterator[None]:
        """Fold all events of some of these persons, given in any order, in steps."""

    def fold_since(self, persons: int, events: SelectedEvents) -> None:
        """Fold events of theirs that came after all of the history, as they came."""

    def changes(self, state: PersonState[Any]) -> C_co:
        """Return what is to be announced, for rows of a state that has these persons."""


class Disorder:
    """The persons whose events did not come in order of time."""

    def __init__(self) -> None:
        self._newest = np.empty(0, np.int64)  # by person: the time of the newest event
        self._of = np.empty(0, np.bool_)

    def note(self, persons: int, slots: Int32s, at: Int64s) -> None:
        """Note events in the log's order; `persons` is the size of the index of `slots`."""
        known = len(self._newest)
        self._newest = grown(self._newest, persons)
        self._newest[known:] = NEVER
        self._of = grown(self._of, len(self._newest))
        _note(slots, at, self._newest, self._of)

    def of(self, slots: Int32s) -> Bools:
        """Return which of some persons are among them; one who was not noted is not."""
        among = np.zeros(len(slots), np.bool_)
        noted = slots < len(self._of)
        among[noted] = self._of[slots[noted]]
        return among


class History:
    """Events of some definitions, of persons of one range of hashes after the other.

    `max_bytes` returns how many bytes it may hold at the time.
    """

    def __init__(self, max_bytes: Callable[[], int]) -> None:
        self._max_bytes = max_bytes
        self._low, self._high = 0, _HASHES
        self._held: dict[Key, list[SelectedEvents]] = {}
        self._nbytes = 0

    @property
    def overflows(self) -> bool:
        """Whether it holds more than it may."""
        return self._nbytes > self._max_bytes()

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()
        self._nbytes = 0

    def add(self, key: Key, events: SelectedEvents) -> None:
        """Hold the events of those persons that this pass is for."""
        events = self._within(events)
        if not len(events.at):
            return
        events = events.cut(np.argsort(events.at, kind="stable")).compact()
        self._held.setdefault(key, []).append(events)
        self._nbytes += events.nbytes

    def divide(self) -> None:
        """Leave persons to later passes for as long as it overflows."""
        while self.overflows and self._high - self._low > 1:
            self._high = (self._low + self._high) // 2
            self._held = {
                key: [self._within(events).compact() for events in held]
                for key, held in self._held.items()
            }
            self._nbytes = sum(part.nbytes for held in self._held.values() for part in held)

    def next_pass(self) -> bool:
        """Go on to the persons that no pass was for; return whether there are any."""
        self.clear()
        self._low, self._high = self._high, _HASHES
        return self._low < _HASHES

    def of_disordered(self, key: Key, disorder: Disorder) -> SelectedEvents | None:
        """Return a copy of the events whose persons are among some; None if there are none."""
        held = self._held.get(key, [])
        parts = [events.cut(disorder.of(events.slots)).compact() for events in held]
        parts = [events for events in parts if len(events.at)]
        return _concat(parts) if parts else None

    def batches(self, key: Key) -> Iterator[SelectedEvents]:
        """Yield a definition's events in the order of time, at one time in that of offsets."""
        held = self._held.pop(key, [])
        if not held:
            return
        times = np.sort(np.concatenate([events.at[::_SAMPLED] for events in held]))
        bounds = np.unique(times[:: max(1, _BATCH // _SAMPLED)][1:])
        places = [
            np.concatenate([[0], np.searchsorted(events.at, bounds), [len(events.at)]])
            for events in held
        ]
        for number in range(len(bounds) + 1):
            parts = [
                events.cut(slice(place[number], place[number + 1])).compact()
                for events, place in zip(held, places, strict=True)
                if place[number] < place[number + 1]
            ]
            if parts:
                events = _concat(parts)
                order = np.lexsort((events.offsets, events.at))
                for begin in range(0, len(order), _BATCH):
                    yield events.cut(order[begin : begin + _BATCH])

    def _within(self, events: SelectedEvents) -> SelectedEvents:
        if (self._low, self._high) == (0, _HASHES):
            return events
        hashes = events.slots.astype(np.uint32) * _HASH_FACTOR
        return events.cut((hashes >= self._low) & (hashes < self._high))


def _concat(parts: Sequence[SelectedEvents]) -> SelectedEvents:
    slots, at, masks, offsets = (
        np.concatenate(columns) for columns in zip(*(part[:4] for part in parts), strict=True)
    )
    values = [
        _concat_values(columns) for columns in zip(*(part.values for part in parts), strict=True)
    ]
    return SelectedEvents(slots, at, masks, offsets, values)


def _concat_values(
    columns: Sequence[DictionaryColumn | ValueHashes],
) -> DictionaryColumn | ValueHashes:
    hashes = [column for column in columns if isinstance(column, ValueHashes)]
    if hashes:
        return ValueHashes.concat(hashes)
    return DictionaryColumn.concat(
        [column for column in columns if isinstance(column, DictionaryColumn)]
    )


def _nbytes(column: DictionaryColumn | ValueHashes) -> int:
    if isinstance(column, ValueHashes):
        return column.numbers.nbytes + _nbytes(column.tokens)
    return column.codes.nbytes + _VALUE_BYTES * len(column.distinct)


@kernel
def _note(slots: Int32s, at: Int64s, newest: Int64s, disordered: Bools) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if at[i] < newest[slot]:
            disordered[slot] = True
        newest[slot] = max(newest[slot], at[i])


@register_example
def precompile() -> None:
    """Compile the kernel."""
    Disorder().note(1, np.zeros(1, np.int32), np.zeros(1, np.int64))
