"""A funnel's figures: from counts, wherever they were counted, to what the API answers.

Pure, and the same for the stream's view and for ClickHouse: figures of the two differ only if what
they counted differs.
"""

import datetime
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from schemas.operators.funnel import Breakdown, Exclusion, FunnelDefinition, Order, Step
from schemas.sketches.durations import Sketch, mean, merge, quantile
from schemas.time.calendar import Period, begin_of, number_of
from schemas.value_tokens import token
from services.query.http.params import Source, instant
from services.query.views.progress import LIVE, State, StatusResponse

MAX_SHOWN: Final = 25
PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month")
_EPOCH: Final = datetime.date(1970, 1, 1)


class ValueCounts(NamedTuple):
    """Persons, and chains if the funnel counts them, of one value that reached each step."""

    reached: list[int]
    entries: list[int]


# By the value in JSON; None stands for all that are not told apart.
Values = Mapping[str | None, ValueCounts]


class DayCounts(NamedTuple):
    """Persons of one entry day: how many reached each step, and how long they took to it.

    `entries` are the chains that reached each step, if the funnel counts them, else none.
    """

    reached: list[int]
    times: list[Sketch]
    entries: list[int]
    values: Values = MappingProxyType({})


class FunnelCounts(NamedTuple):
    """All that is counted of a funnel. Days count from 1970; `total` has each person once.

    `status` says how far that is.
    """

    total: list[int]
    days: dict[int, DayCounts]
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE
    entries: Sequence[int] = ()
    values: Values = MappingProxyType({})


class FunnelResponse(msgspec.Struct, frozen=True):
    """A funnel; `revision` rises with every change, `version` when what is counted changes."""

    id: str
    revision: int
    version: int
    name: str
    description: str
    window_s: int
    steps: tuple[Step, ...]
    order: Order
    exclusions: tuple[Exclusion, ...]
    once: bool
    hold_constant: tuple[str, ...]
    entries: bool
    breakdown: Breakdown | None
    since: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class StepResponse(msgspec.Struct, frozen=True):
    """How many persons reached a step, and which share of the first and of the previous step's.

    The previous step is the one before that is not optional. `entries` is how many chains reached
    the step, however many of one person; null where the funnel does not count them. In a funnel in
    any order step n is reached with the n-th of the steps, whichever it is.
    """

    step: int
    event: str
    reached: int
    conversion: float
    conversion_from_previous: float
    entries: int | None


class TimedStepResponse(StepResponse, frozen=True):
    """A step's figures of one entry day, and how long persons took to it from their first step.

    The mean is exact, median and 90th percentile are within 1 %, all rounded to a millisecond; null
    where nobody reached the step.
    """

    mean_ms: int | None
    median_ms: int | None
    p90_ms: int | None


class ValueResponse(msgspec.Struct, frozen=True):
    """Figures of the chains that have a value; null is that of chains whose property is not set.

    `other` tells that these are all values that are not shown by themselves, added up: a person who
    has two of them counts twice.
    """

    value: bool | int | float | str | None
    other: bool
    steps: list[StepResponse]


class TotalsResponse(msgspec.Struct, frozen=True):
    """Figures over all entry days, each person once.

    `breakdown` is empty for funnels that have none.
    """

    steps: list[StepResponse]
    breakdown: list[ValueResponse]


class DayResponse(msgspec.Struct, frozen=True):
    """Figures of the persons who took the first step on a day (UTC).

    If longer periods are asked for, it is the first day of one, and its days are added up: a person
    counts once for each day.
    """

    day: datetime.date
    steps: list[TimedStepResponse]
    breakdown: list[ValueResponse]


class FunnelResultsResponse(msgspec.Struct, frozen=True):
    """A funnel's results, and the events that they include.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that is counted (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.

    `totals` are over all days, whichever are asked for. `late_dropped` counts the events that came
    too late for the stream to count. `positions` has, for each partition of the event store, the
    offset before which all events are included.
    """

    funnel: FunnelResponse
    source: Source
    state: State
    backfilled: float
    totals: TotalsResponse
    days: list[DayResponse]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    previous: "FunnelResultsResponse | None" = None


def show(definition: FunnelDefinition) -> FunnelResponse:
    """Return a funnel as the API shows it."""
    funnel = definition.funnel
    return FunnelResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        name=funnel.name,
        description=funnel.description,
        window_s=funnel.window_s,
        steps=funnel.steps,
        order=funnel.order,
        exclusions=funnel.exclusions,
        once=funnel.once,
        hold_constant=funnel.hold_constant,
        entries=funnel.entries,
        breakdown=funnel.breakdown,
        since=funnel.since,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: FunnelDefinition,
    source: Source,
    counted: FunnelCounts,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    period: Period = "day",
    previous: FunnelResultsResponse | None = None,
) -> FunnelResultsResponse:
    """Return what the API answers for the entry days `first` to `last`, both included.

    Days on which nobody took the first step are left out, as are days beyond the calendar. Those
    of a longer period are added up.
    """
    steps = definition.funnel.steps
    shown = top_values(counted.values)
    days = [
        DayResponse(day, _timed(steps, counts), _broken_down(steps, counts.values, shown))
        for day, counts in _by_period(counted.days, period, first, last)
    ]
    return FunnelResultsResponse(
        funnel=show(definition),
        source=source,
        state=counted.status.state,
        backfilled=counted.status.backfilled,
        totals=TotalsResponse(
            [StepResponse(*row) for row in _rows(steps, counted.total, counted.entries)],
            _broken_down(steps, counted.values, shown),
        ),
        days=days,
        late_dropped=counted.late_dropped,
        updated_at=None if counted.updated_at is None else instant(counted.updated_at),
        positions=dict(sorted(counted.positions.items())),
        previous=previous,
    )


def _by_period(
    days: Mapping[int, DayCounts], period: Period, first: datetime.date, last: datetime.date
) -> Iterator[tuple[datetime.date, DayCounts]]:
    """The figures by the first day of each period."""
    parts: defaultdict[datetime.date, list[DayCounts]] = defaultdict(list)
    for number, counts in days.items():
        day = day_of(number)
        if sum(counts.reached) and day is not None and first <= day <= last:
            parts[begin_of(period, number_of(period, day))].append(counts)
    for begin, own in sorted(parts.items()):
        yield begin, own[0] if len(own) == 1 else _sum(own)


def _sum(parts: Sequence[DayCounts]) -> DayCounts:
    persons = add_up([ValueCounts(part.reached, part.entries) for part in parts])
    values: defaultdict[str | None, list[ValueCounts]] = defaultdict(list)
    for part in parts:
        for value, counts in part.values.items():
            values[value].append(counts)
    return DayCounts(
        persons.reached,
        [merge(times) for times in zip(*(part.times for part in parts), strict=True)],
        persons.entries,
        {value: add_up(own) for value, own in values.items()},
    )


def top_values(values: Values) -> list[str]:
    """The values that are shown by themselves: those that most persons entered with."""

    def place(value: str) -> tuple[int, str]:
        return -values[value].reached[0], token(json.loads(value))

    breakdown_values = (value for value in values if value is not None and values[value].reached[0])
    return sorted(breakdown_values, key=place)[:MAX_SHOWN]


def _broken_down(
    steps: tuple[Step, ...], values: Values, shown: Sequence[str]
) -> list[ValueResponse]:
    figures = [
        ValueResponse(json.loads(value), other=False, steps=_of_value(steps, values[value]))
        for value in shown
        if value in values
    ]
    rest = [counts for value, counts in values.items() if value not in shown]
    if any(counts.reached[0] for counts in rest):
        figures.append(ValueResponse(None, other=True, steps=_of_value(steps, add_up(rest))))
    return figures


def _of_value(steps: tuple[Step, ...], counts: ValueCounts) -> list[StepResponse]:
    return [StepResponse(*row) for row in _rows(steps, counts.reached, counts.entries)]


def add_up(parts: Sequence[ValueCounts]) -> ValueCounts:
    """The sum of some figures."""
    reached = [sum(column) for column in zip(*(part.reached for part in parts), strict=True)]
    entries = [part.entries for part in parts if part.entries]
    return ValueCounts(reached, [sum(column) for column in zip(*entries, strict=True)])


_Row = tuple[int, str, int, float, float, int | None]


def _rows(steps: tuple[Step, ...], reached: list[int], entries: Sequence[int]) -> Iterator[_Row]:
    reached = reached or [0] * len(steps)
    previous = reached[0]
    for number, step in enumerate(steps):
        there = reached[number]
        chains = entries[number] if entries else None
        yield (
            number + 1,
            step.event,
            there,
            _share(there, reached[0]),
            _share(there, previous),
            chains,
        )
        previous = previous if step.optional else there


def _timed(steps: tuple[Step, ...], counts: DayCounts) -> list[TimedStepResponse]:
    return [
        TimedStepResponse(
            *row,
            rounded(mean(sketch)),
            rounded(quantile(sketch, 0.5)),
            rounded(quantile(sketch, 0.9)),
        )
        for row, sketch in zip(
            _rows(steps, counts.reached, counts.entries), counts.times, strict=True
        )
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def rounded(ms: float | None) -> int | None:
    """A time in whole milliseconds, if there is one."""
    return None if ms is None else round(ms)


def day_of(number: int) -> datetime.date | None:
    """The day of that number from 1970, None if it is beyond the calendar."""
    try:
        return _EPOCH + datetime.timedelta(days=number)
    except OverflowError:
        return None
