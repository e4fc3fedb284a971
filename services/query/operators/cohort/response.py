"""What the API answers about cohorts, from the aggregates of the stream or of ClickHouse."""

import datetime
import json
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from schemas.event_filter import EventFilter
from schemas.operators.cohort import ByValue, CohortDefinition
from schemas.time.calendar import Period, WeekStart
from schemas.value_tokens import token_of_json
from services.query.http.params import Source, instant
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.cohort.aggregates import CohortAggregates, Grids, add_up
from services.query.views.progress import State


class CohortResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort; `revision` rises with every change, `version` when what is counted changes."""

    id: str
    revision: int
    version: int
    name: str
    description: str
    start: EventFilter
    returning: EventFilter = msgspec.field(name="return")
    period: Period
    periods: int
    timezone: str
    week_start: WeekStart
    breakdown: ByValue | None
    since: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class RowValueResponse(msgspec.Struct, frozen=True):
    """The persons of a row whose first start has a value; null if its property is not set.

    `other` marks the sum of all values that are not shown by themselves.
    """

    value: bool | int | float | str | None
    other: bool
    persons: int
    returned: list[int]
    returned_or_later: list[int]


class RowResponse(msgspec.Struct, frozen=True):
    """Persons who began in the period whose first day is `begin`.

    Item n of `returned` is how many of them came back in the n-th period after it, item n of
    `returned_or_later` how many came back in that or any later period; 0 for periods to come.
    `breakdown` is empty for cohorts without one.
    """

    begin: datetime.date
    persons: int
    returned: list[int]
    returned_or_later: list[int]
    breakdown: list[RowValueResponse]


class CohortResultsResponse(msgspec.Struct, frozen=True):
    """A cohort's retention grid, and the events that it includes.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that is counted (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.

    Periods in which nobody began are left out. `late_dropped` counts the events that came too
    late; while the state is `behind`, they are about to be counted. `positions` has, for each
    partition of the event store, the offset before which all events are included, and no later
    ones: `as_of` takes them. `complete_until` is the time before which all events are included but
    those that come later than the allowed lateness; null while it is not known.

    Figures by value are `approximate` if a partition has met more values than it tracks: a value
    may then lack up to `error` persons, who are counted as `other`. Both are left out otherwise.
    """

    cohort: CohortResponse
    source: Source
    state: State
    backfilled: float
    rows: list[RowResponse]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None
    previous: "CohortResultsResponse | None" = None
    approximate: bool | UnsetType = UNSET
    error: int | UnsetType = UNSET


def show(definition: CohortDefinition) -> CohortResponse:
    """Return the response for a cohort."""
    cohort = definition.cohort
    return CohortResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        name=cohort.name,
        description=cohort.description,
        start=cohort.start,
        returning=cohort.returning,
        period=cohort.period,
        periods=cohort.periods,
        timezone=cohort.timezone,
        week_start=cohort.week_start,
        breakdown=cohort.breakdown,
        since=cohort.since,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: CohortDefinition,
    source: Source,
    aggregates: CohortAggregates,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    previous: CohortResultsResponse | None = None,
    complete_until: datetime.datetime | None = None,
) -> CohortResultsResponse:
    """Return the response for the periods that begin from `first` to `last`, both included."""
    shown = _top_values(aggregates.values)
    return CohortResultsResponse(
        cohort=show(definition),
        source=source,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        rows=[
            RowResponse(begin, *row, _broken_down(begin, aggregates.values, shown))
            for begin, row in sorted(aggregates.rows.items())
            if row.persons and first <= begin <= last
        ],
        late_dropped=aggregates.late_dropped,
        updated_at=None if aggregates.updated_at is None else instant(aggregates.updated_at),
        positions=dict(sorted(aggregates.positions.items())),
        complete_until=complete_until,
        previous=previous,
        approximate=UNSET if aggregates.values_error is None else True,
        error=UNSET if aggregates.values_error is None else aggregates.values_error,
    )


def _top_values(values: Grids) -> list[str]:
    """Return the values with the most persons, which are shown by themselves."""
    persons = {
        value: sum(row.persons for row in of_value.values())
        for value, of_value in values.items()
        if value is not None
    }
    breakdown_values = sorted(persons, key=lambda value: (-persons[value], token_of_json(value)))
    return breakdown_values[:MAX_SHOWN]


def _broken_down(
    begin: datetime.date, values: Grids, shown: Sequence[str]
) -> list[RowValueResponse]:
    of_row = {value: rows[begin] for value, rows in values.items() if begin in rows}
    rest = add_up([row for value, row in of_row.items() if value not in shown])
    shown_values = [
        RowValueResponse(json.loads(value), False, *of_row[value])
        for value in shown
        if value in of_row and of_row[value].persons
    ]
    if rest is not None and rest.persons:
        shown_values.append(RowValueResponse(None, True, *rest))
    return shown_values
