"""What a recount corrects of the steps that were announced for persons.

Only persons whose events did not come in order of time are concerned. Their events are folded twice
more, into states of their own: as they came, which is what was announced, and in order of time.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.history import SelectedEvents
from pipelines.engine.operator import ChangeRecords, PersonState
from pipelines.operators.funnel.columns import ALL, CHANGE

_BATCH: Final = 50_000  # events
_STEP: Final = np.dtype([("slot", np.int64), ("day", np.int64), ("step", np.int64)])


class _Announced(NamedTuple):
    """Steps, and how long the person took to each and when it was reached, as announced last."""

    steps: ChangeRecords  # of type `_STEP`, each once, ascending
    after: Int64s
    at: Int64s


class StepCorrections:
    """The differences between the steps that were announced and those that are right.

    `announced` and `right` are two states of the funnel that hold nothing. Events below offset
    `recounted_to` were announced in the order of time.
    """

    def __init__(
        self,
        announced: PersonState[ValuedChanges],
        right: PersonState[ValuedChanges],
        recounted_to: int,
    ) -> None:
        self._announced, self._right = _Fold(announced), _Fold(right)
        self._recounted_to = recounted_to

    def fold_history(self, persons: int, events: SelectedEvents) -> Iterator[None]:
        """Fold all events of some of these persons, given in any order, in steps."""
        in_order = events.offsets < self._recounted_to
        times = np.where(in_order, events.at, 0)
        as_announced = np.lexsort((events.offsets, times, ~in_order))
        in_time = np.lexsort((events.offsets, events.at))
        for fold, order in ((self._announced, as_announced), (self._right, in_time)):
            for begin in range(0, len(order), _BATCH):
                fold.fold(persons, events.cut(order[begin : begin + _BATCH]))
                yield

    def fold_since(self, persons: int, events: SelectedEvents) -> None:
        """Fold events of theirs that came after all of the history, as they came."""
        for fold in (self._announced, self._right):
            fold.fold(persons, events)

    def changes(self, state: PersonState[ValuedChanges]) -> ValuedChanges:
        """Return what is to be announced, for rows of a state that has these persons."""
        before, after = self._announced.last(), self._right.last()
        steps = np.union1d(before.steps, after.steps)
        was, is_ = _of(before, steps), _of(after, steps)
        differ = was.after != is_.after
        changes = np.zeros(int(np.count_nonzero(differ)), CHANGE)
        slots = steps["slot"][differ].astype(np.int32)
        changes["row"], changes["scope"] = state.rows_of(slots), ALL
        changes["day"], changes["step"] = steps["day"][differ], steps["step"][differ]
        changes["before"], changes["after"] = was.after[differ], is_.after[differ]
        changes["at"] = np.where(is_.after == NONE, was.at, is_.at)[differ]
        return ValuedChanges(changes)


class _Fold:
    """A state, and what folding into it announces."""

    def __init__(self, state: PersonState[ValuedChanges]) -> None:
        self._state = state
        self._steps: list[ChangeRecords] = []
        self._numbers: list[tuple[Int64s, Int64s]] = []

    def fold(self, persons: int, events: SelectedEvents) -> None:
        if not len(events.at):
            return
        changes = self._state.fold(persons, *events).changes.records
        told = changes["day"] != TOTAL
        if "scope" in (changes.dtype.names or ()):
            told &= changes["scope"] == ALL
        changes = changes[told & (changes["before"] != changes["after"])]
        steps = np.zeros(len(changes), _STEP)
        steps["slot"] = self._state.persons_of(changes["row"])
        steps["day"], steps["step"] = changes["day"], changes["step"]
        self._steps.append(steps)
        self._numbers.append((changes["after"].copy(), changes["at"].copy()))

    def last(self) -> _Announced:
        """Return what was announced last of each step."""
        steps = np.concatenate([np.zeros(0, _STEP), *self._steps])
        after, at = (
            np.concatenate([np.zeros(0, np.int64), *(numbers[place] for numbers in self._numbers)])
            for place in (0, 1)
        )
        distinct, from_the_end = np.unique(steps[::-1], return_index=True)
        last = len(steps) - 1 - from_the_end
        return _Announced(distinct, after[last], at[last])


def _of(announced: _Announced, steps: ChangeRecords) -> _Announced:
    """Return what was announced of other steps, NONE where nothing was."""
    after, at = np.full(len(steps), NONE, np.int64), np.zeros(len(steps), np.int64)
    places = np.searchsorted(steps, announced.steps)
    after[places], at[places] = announced.after, announced.at
    return _Announced(steps, after, at)
