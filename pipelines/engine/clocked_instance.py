"""Instances whose state has a clock, which events move."""

from typing import Protocol

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.history import SelectedEvents
from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import C, C_co, D, FoldResult, PersonState
from pipelines.matching.match import Masks, Values


class ClockedState(PersonState[C_co], Protocol[C_co]):
    """A `PersonState` whose `fold` takes the times up to which events move the clock."""

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
        *,
        clocks: Int64s | None = None,
    ) -> FoldResult[C_co]:
        """Fold events in order of arrival; see `PersonState.fold`.

        `clocks` are the times (ms) up to which the events move the clock: by default their own.
        """


class ClockedInstance(OperatorInstance[D, C]):
    """An instance in whose state an event moves the clock to its own time, but never ahead."""

    state: ClockedState[C]

    def fold(self, persons: int, events: SelectedEvents, times_of_day: Int64s) -> FoldResult[C]:
        """Fold events; one that is dated ahead of the time of day moves the clock no further."""
        clocks = np.minimum(events.at, times_of_day)
        return self.state.fold(persons, *events, clocks=clocks)
