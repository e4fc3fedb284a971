"""A cohort's figures: from counts, wherever they were counted, to what the API answers."""

import datetime
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from schemas.event_filter import EventFilter
from schemas.operators.cohort import ByValue, CohortDefinition
from schemas.time.calendar import Period
from schemas.value_tokens import token
from services.query.http.params import Source, instant
from services.query.operators.funnel.response import MAX_SHOWN
from services.query.views.progress import LIVE, State, StatusResponse


class Row(NamedTuple):
    """The persons who began in one period, and how many came back in each column's (or later)."""

    persons: int
    returned: list[int]
    returned_or_later: list[int]


Grid: TypeAlias = dict[datetime.date, Row]
# By the value in JSON, None for all that are not told apart.
Grids: TypeAlias = Mapping[str | None, Grid]


class CohortCounts(NamedTuple):
    """All that is counted of a cohort, by the first day of the period.

    `status` says how far that is.
    """

    rows: Grid
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE
    values: Grids = MappingProxyType({})


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
    breakdown: ByValue | None
    since: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


class RowValueResponse(msgspec.Struct, frozen=True):
    """Of a row, the persons whose first start has a value; null is that of those who have none.

    `other` tells that these are all values that are not shown by themselves, added up.
    """

    value: bool | int | float | str | None
    other: bool
    persons: int
    returned: list[int]
    returned_or_later: list[int]


class RowResponse(msgspec.Struct, frozen=True):
    """Persons who began in the period whose first day is `begin`.

    Place n of `returned` has how many of them came back in the n-th period after it, place n of
    `returned_or_later` how many did so then or in any period since; 0 where it is still to come.
    `breakdown` is empty for cohorts that have none.
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

    Periods in which nobody began are left out. `late_dropped` counts the events that came too late
    for the stream to count. `positions` has, for each partition of the event store, the offset
    before which all events are included.
    """

    cohort: CohortResponse
    source: Source
    state: State
    backfilled: float
    rows: list[RowResponse]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    previous: "CohortResultsResponse | None" = None


def show(definition: CohortDefinition) -> CohortResponse:
    """Return what the API shows of a cohort."""
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
        breakdown=cohort.breakdown,
        since=cohort.since,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: CohortDefinition,
    source: Source,
    counted: CohortCounts,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    previous: CohortResultsResponse | None = None,
) -> CohortResultsResponse:
    """Return what the API answers for the periods that begin from `first` to `last`."""
    shown = _top_values(counted.values)
    return CohortResultsResponse(
        cohort=show(definition),
        source=source,
        state=counted.status.state,
        backfilled=counted.status.backfilled,
        rows=[
            RowResponse(begin, *row, _broken_down(begin, counted.values, shown))
            for begin, row in sorted(counted.rows.items())
            if row.persons and first <= begin <= last
        ],
        late_dropped=counted.late_dropped,
        updated_at=None if counted.updated_at is None else instant(counted.updated_at),
        positions=dict(sorted(counted.positions.items())),
        previous=previous,
    )


def _top_values(values: Grids) -> list[str]:
    """The values that are shown by themselves: those of most persons."""
    persons = {
        value: sum(row.persons for row in of_value.values())
        for value, of_value in values.items()
        if value is not None
    }
    breakdown_values = sorted(
        persons, key=lambda value: (-persons[value], token(json.loads(value)))
    )
    return breakdown_values[:MAX_SHOWN]


def _broken_down(
    begin: datetime.date, values: Grids, shown: Sequence[str]
) -> list[RowValueResponse]:
    of_row = {value: rows[begin] for value, rows in values.items() if begin in rows}
    rest = add_up([row for value, row in of_row.items() if value not in shown])
    figures = [
        RowValueResponse(json.loads(value), False, *of_row[value])
        for value in shown
        if value in of_row and of_row[value].persons
    ]
    if rest is not None and rest.persons:
        figures.append(RowValueResponse(None, True, *rest))
    return figures


def add_up(rows: Sequence[Row]) -> Row | None:
    """The sum of some rows; None if there are none."""
    if not rows:
        return None
    persons, *columns = zip(*rows, strict=True)
    return Row(sum(persons), *(np.sum(column, axis=0).tolist() for column in columns))
