"""Snapshots are read by position: whatever names their fields had when they were written."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.operators.cohort.state import CohortState
from pipelines.operators.funnel.rules import rules_of
from pipelines.operators.funnel.state import FunnelState
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.segment.compiler import compile_rule
from pipelines.operators.segment.state import SegmentState
from pipelines.operators.sequence import SequenceShape, SequenceState
from schemas.event_filter import EventFilter
from schemas.operators.funnel import Funnel, Step
from schemas.operators.metric import WINDOWS
from schemas.operators.segment import EventSequence, Rule
from schemas.time.buckets import Buckets
from schemas.time.calendar import calendar

State: TypeAlias = SequenceState | FunnelState | CohortState | ActiveState | SegmentState

NOON = 20_000 * 86_400_000 + 43_200_000
HOUR_MS = 3_600_000
PERSONS, EVENTS = 20, 200
OPTIONS = Funnel((Step("a"), Step("b")), window_s=3_600, once=True)
SEQUENCE = Rule(sequence=EventSequence((EventFilter("a"), EventFilter("b")), 3_600))


def fold(state: State, batch: int) -> None:
    """Fold a batch of events of the first two selectors."""
    rng = np.random.default_rng(batch)
    state.fold(
        PERSONS,
        rng.integers(0, PERSONS, EVENTS).astype(np.int32),
        NOON + batch * HOUR_MS + rng.integers(0, 2 * HOUR_MS, EVENTS),
        rng.integers(1, 4, EVENTS).astype(np.uint32),
        np.arange(batch * EVENTS, (batch + 1) * EVENTS),
    )


def rows_of(state: State) -> list[bytes]:
    """The rows of all persons as they are logged."""
    data, begins, ends = state.pack(state.rows_of(np.arange(PERSONS, dtype=np.int32)), 0)
    return [data[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]


def renamed(column: NDArray[Any]) -> NDArray[Any]:
    """A column whose fields have other names, at the same places."""
    fields = column.dtype.fields
    if fields is None:
        return column
    types, offsets = zip(*(field[:2] for field in fields.values()), strict=True)
    return column.view(
        np.dtype(
            {
                "names": [f"field {place}" for place in range(len(fields))],
                "formats": list(types),
                "offsets": list(offsets),
                "itemsize": column.dtype.itemsize,
            }
        )
    )


@pytest.mark.parametrize(
    "new",
    [
        lambda: SequenceState(SequenceShape(2, HOUR_MS, HOUR_MS)),
        lambda: FunnelState(rules_of(OPTIONS, HOUR_MS)),
        lambda: CohortState(3, calendar("day", "UTC"), HOUR_MS),
        lambda: ActiveState(WINDOWS[60], Buckets(60, "UTC"), HOUR_MS),
        lambda: SegmentState(compile_rule(SEQUENCE), HOUR_MS),
    ],
    ids=["sequence", "funnel with options", "cohort", "active persons", "segment"],
)
def test_a_state_continues_from_a_snapshot_whose_fields_had_other_names(
    new: Callable[[], State],
) -> None:
    kept, loaded = new(), new()
    fold(kept, 0)
    loaded.load({name: renamed(column) for name, column in kept.dump().items()}, EVENTS)
    fold(loaded, 0)  # events that the snapshot contains
    clock = kept.clock
    for state in (kept, loaded):
        state.restored(clock)
        fold(state, 1)
    assert rows_of(loaded) == rows_of(kept)
