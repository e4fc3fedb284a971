"""What the API answers about funnels, from the aggregates of the stream or of ClickHouse.

Pure, and the same for both: their responses differ only if they counted something else.
"""

import datetime
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from schemas.operators.funnel import Breakdown, Exclusion, FunnelDefinition, Order, Step
from schemas.sketches.durations import mean, merge, quantile
from schemas.time.calendar import Period, WeekStart, begin_of, number_of
from services.query.http.params import Source, instant
from services.query.operators.funnel.aggregates import (
    DayCounts,
    FunnelAggregates,
    ValueCounts,
    Values,
    add_up,
    top_values,
)
from services.query.views.progress import State

PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month")
_EPOCH: Final = datetime.date(1970, 1, 1)


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
    timezone: str
    week_start: WeekStart
    created_at: datetime.datetime
    updated_at: datetime.datetime


class StepResponse(msgspec.Struct, frozen=True):
    """How many persons reached a step, as a number and as shares of the first and previous step.

    The previous step is the nearest one before it that is not optional. `entries` is the number of
    chains that reached the step, of which a person may have many; null if the funnel does not count
    them. With order `any`, step n is reached with the n-th of the steps, whichever it is.
    """

    step: int
    event: str
    reached: int
    conversion: float
    conversion_from_previous: float
    entries: int | None


class TimedStepResponse(StepResponse, frozen=True):
    """A step of one entry day, with the time that persons took to it from their first step.

    The mean is exact, median and 90th percentile are within 1 % and within the times that were
    counted, all rounded to a millisecond; null if nobody reached the step.
    """

    mean_ms: int | None
    median_ms: int | None
    p90_ms: int | None


class ValueResponse(msgspec.Struct, frozen=True):
    """The steps of the chains with a value; null if their property is not set.

    `other` marks the sum of all values that are not shown by themselves: a person with two of them
    counts twice.
    """

    value: bool | int | float | str | None
    other: bool
    steps: list[StepResponse]


class TotalsResponse(msgspec.Struct, frozen=True):
    """The steps over all entry days, each person once; `breakdown` is empty without one."""

    steps: list[StepResponse]
    breakdown: list[ValueResponse]


class DayResponse(msgspec.Struct, frozen=True):
    """The steps of the persons who took the first step on a day of the funnel's time zone.

    With a longer `period`, `day` is its first day, and its days are added up: a person counts once
    for each day.
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
    too late; while the state is `behind`, some of them are about to be counted. `positions` has,
    for each partition of the event store, the offset before which all events are included, and no
    later ones: `as_of` takes them. `complete_until` is the time before which all events are
    included but those that come later than the allowed lateness; null while it is not known.

    Figures by value are `approximate` if a partition has met more values than it tracks: a value
    may then lack up to `error` persons, who are counted as `other`. Both are left out otherwise.
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
    complete_until: datetime.datetime | None = None
    previous: "FunnelResultsResponse | None" = None
    approximate: bool | UnsetType = UNSET
    error: int | UnsetType = UNSET


def show(definition: FunnelDefinition) -> FunnelResponse:
    """Return the response for a funnel."""
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
        timezone=funnel.timezone,
        week_start=funnel.week_start,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: FunnelDefinition,
    source: Source,
    aggregates: FunnelAggregates,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    period: Period = "day",
    previous: FunnelResultsResponse | None = None,
    complete_until: datetime.datetime | None = None,
) -> FunnelResultsResponse:
    """Return the response for the entry days from `first` to `last`, both included.

    Days on which nobody took the first step are left out, as are days beyond the calendar. The days
    of a longer period are added up.
    """
    steps = definition.funnel.steps
    shown = top_values(aggregates.values)
    days = [
        DayResponse(day, _timed(steps, counts), _broken_down(steps, counts.values, shown))
        for day, counts in _by_period(
            aggregates.days, period, definition.funnel.week_start, first, last
        )
    ]
    return FunnelResultsResponse(
        funnel=show(definition),
        source=source,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        totals=TotalsResponse(
            [StepResponse(*row) for row in _rows(steps, aggregates.total, aggregates.entries)],
            _broken_down(steps, aggregates.values, shown),
        ),
        days=days,
        late_dropped=aggregates.late_dropped,
        updated_at=None if aggregates.updated_at is None else instant(aggregates.updated_at),
        positions=dict(sorted(aggregates.positions.items())),
        complete_until=complete_until,
        previous=previous,
        approximate=UNSET if aggregates.values_error is None else True,
        error=UNSET if aggregates.values_error is None else aggregates.values_error,
    )


def _by_period(
    days: Mapping[int, DayCounts],
    period: Period,
    week_start: WeekStart,
    first: datetime.date,
    last: datetime.date,
) -> Iterator[tuple[datetime.date, DayCounts]]:
    """Return the counts by the first day of each period."""
    parts: defaultdict[datetime.date, list[DayCounts]] = defaultdict(list)
    for number, counts in days.items():
        day = day_of(number)
        if sum(counts.reached) and day is not None and first <= day <= last:
            begin = begin_of(period, number_of(period, day, week_start), week_start)
            parts[begin].append(counts)
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


def _broken_down(
    steps: tuple[Step, ...], values: Values, shown: Sequence[str]
) -> list[ValueResponse]:
    shown_values = [
        ValueResponse(json.loads(value), other=False, steps=_of_value(steps, values[value]))
        for value in shown
        if value in values
    ]
    rest = [counts for value, counts in values.items() if value not in shown]
    if any(counts.reached[0] for counts in rest):
        shown_values.append(ValueResponse(None, other=True, steps=_of_value(steps, add_up(rest))))
    return shown_values


def _of_value(steps: tuple[Step, ...], counts: ValueCounts) -> list[StepResponse]:
    return [StepResponse(*row) for row in _rows(steps, counts.reached, counts.entries)]


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
    """Return a time in whole milliseconds, if there is one."""
    return None if ms is None else round(ms)


def day_of(number: int) -> datetime.date | None:
    """Return the day of a number of days since 1970; None if it is beyond the calendar."""
    try:
        return _EPOCH + datetime.timedelta(days=number)
    except OverflowError:
        return None
