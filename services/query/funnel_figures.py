"""A funnel's figures: from counts, wherever they were counted, to what the API answers.

Pure, and the same for the stream's view and for ClickHouse: figures of the two differ only if what
they counted differs.
"""

import datetime
from typing import Final, NamedTuple

import msgspec

from schemas.definitions import FunnelDefinition, Step
from schemas.sketch import Sketch, mean, quantile
from services.query.requests import Source, State, instant

_EPOCH: Final = datetime.date(1970, 1, 1)


class Counts(NamedTuple):
    """Persons of one entry day: how many reached each step, and how long they took to it."""

    reached: list[int]
    times: list[Sketch]


class Counted(NamedTuple):
    """All that is counted of a funnel. Days count from 1970; `total` has each person once.

    `backfilled` is the share of the events that is counted, 1 if none is missing.
    """

    total: list[int]
    days: dict[int, Counts]
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    backfilled: float = 1.0


class FunnelAnswer(msgspec.Struct, frozen=True):
    """A funnel as the API shows it."""

    id: str
    version: int
    name: str
    window_s: int
    steps: tuple[Step, ...]
    created_at: datetime.datetime
    updated_at: datetime.datetime


class StepFigures(msgspec.Struct, frozen=True):
    """How many persons reached a step, and which share of the first and of the previous step's."""

    step: int
    event: str
    reached: int
    conversion: float
    conversion_from_previous: float


class TimedStepFigures(StepFigures, frozen=True):
    """A step's figures of one entry day, and how long persons took to it from their first step.

    The mean is exact, median and 90th percentile are within 1 %, all rounded to a millisecond; null
    where nobody reached the step.
    """

    mean_ms: int | None
    median_ms: int | None
    p90_ms: int | None


class Totals(msgspec.Struct, frozen=True):
    """Figures over all entry days, each person once."""

    steps: list[StepFigures]


class DayFigures(msgspec.Struct, frozen=True):
    """Figures of the persons who took the first step on a day (UTC)."""

    day: datetime.date
    steps: list[TimedStepFigures]


class FunnelResults(msgspec.Struct, frozen=True):
    """A funnel's figures and what they take in.

    A funnel that was defined, or changed, after events had come is `backfilling` until it has
    caught up with them: its figures grow meanwhile, and `backfilled` is the share of the events
    that they take in (0 to 1). `totals` are over all days, whichever are asked for. `late_dropped`
    counts the events that came too late to be in the stream's figures. `positions` has for each
    partition of the event store the offset before which all events are in.
    """

    funnel: FunnelAnswer
    source: Source
    state: State
    backfilled: float
    totals: Totals
    days: list[DayFigures]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]


def show(definition: FunnelDefinition) -> FunnelAnswer:
    """Return a funnel as the API shows it."""
    funnel = definition.funnel
    return FunnelAnswer(
        id=definition.id,
        version=definition.version,
        name=funnel.name,
        window_s=funnel.window_s,
        steps=funnel.steps,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: FunnelDefinition,
    source: Source,
    counted: Counted,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
) -> FunnelResults:
    """Return what the API answers for the entry days `first` to `last`, both included.

    Days on which nobody took the first step are left out, as are days beyond the calendar.
    """
    steps = definition.funnel.steps
    days = [
        DayFigures(day, _timed(steps, counts))
        for number, counts in sorted(counted.days.items())
        if sum(counts.reached) and (day := _day(number)) is not None and first <= day <= last
    ]
    return FunnelResults(
        funnel=show(definition),
        source=source,
        state="live" if counted.backfilled == 1 else "backfilling",
        backfilled=counted.backfilled,
        totals=Totals([StepFigures(*row) for row in _rows(steps, counted.total)]),
        days=days,
        late_dropped=counted.late_dropped,
        updated_at=None if counted.updated_at is None else instant(counted.updated_at),
        positions=dict(sorted(counted.positions.items())),
    )


def _rows(steps: tuple[Step, ...], reached: list[int]) -> list[tuple[int, str, int, float, float]]:
    reached = reached or [0] * len(steps)
    previous = [reached[0], *reached]
    return [
        (
            number,
            step.event,
            reached[number - 1],
            _share(reached[number - 1], reached[0]),
            _share(reached[number - 1], previous[number - 1]),
        )
        for number, step in enumerate(steps, 1)
    ]


def _timed(steps: tuple[Step, ...], counts: Counts) -> list[TimedStepFigures]:
    return [
        TimedStepFigures(
            *row,
            _rounded(mean(sketch)),
            _rounded(quantile(sketch, 0.5)),
            _rounded(quantile(sketch, 0.9)),
        )
        for row, sketch in zip(_rows(steps, counts.reached), counts.times, strict=True)
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _rounded(ms: float | None) -> int | None:
    return None if ms is None else round(ms)


def _day(number: int) -> datetime.date | None:
    try:
        return _EPOCH + datetime.timedelta(days=number)
    except OverflowError:
        return None
