"""A cohort's figures: from counts, wherever they were counted, to what the API answers."""

import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from schemas.calendar import Period
from schemas.cohorts import CohortDefinition, Occasion
from services.query.newest import LIVE, Status
from services.query.requests import Source, State, instant


class Row(NamedTuple):
    """The persons who began in one period, and how many came back in each column's (or later)."""

    persons: int
    returned: list[int]
    returned_or_later: list[int]


Grid: TypeAlias = dict[datetime.date, Row]


class Counted(NamedTuple):
    """All that is counted of a cohort, by the first day of the period.

    `status` says how far that is.
    """

    rows: Grid
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: Status = LIVE


class CohortAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort as the API shows it."""

    id: str
    version: int
    name: str
    start: Occasion
    returning: Occasion = msgspec.field(name="return")
    period: Period
    periods: int
    timezone: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


class CohortRow(msgspec.Struct, frozen=True):
    """Persons who began in the period whose first day is `begin`.

    Place n of `returned` has how many of them came back in the n-th period after it, place n of
    `returned_or_later` how many did so then or in any period since; 0 where it is still to come.
    """

    begin: datetime.date
    persons: int
    returned: list[int]
    returned_or_later: list[int]


class CohortResults(msgspec.Struct, frozen=True):
    """A cohort's retention grid and what it takes in.

    A cohort that was defined, or changed, after events had come is `backfilling` until it has
    caught up with them: its figures grow meanwhile, and `backfilled` is the share of the events
    that they take in (0 to 1). Periods in which nobody began are left out. `late_dropped` counts
    the events that came too late to be in the stream's figures. `positions` has for each partition
    of the event store the offset before which all events are in.
    """

    cohort: CohortAnswer
    source: Source
    state: State
    backfilled: float
    rows: list[CohortRow]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]


def show(definition: CohortDefinition) -> CohortAnswer:
    """Return what the API shows of a cohort."""
    cohort = definition.cohort
    return CohortAnswer(
        id=definition.id,
        version=definition.version,
        name=cohort.name,
        start=cohort.start,
        returning=cohort.returning,
        period=cohort.period,
        periods=cohort.periods,
        timezone=cohort.timezone,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: CohortDefinition,
    source: Source,
    counted: Counted,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
) -> CohortResults:
    """Return what the API answers for the periods that begin from `first` to `last`."""
    return CohortResults(
        cohort=show(definition),
        source=source,
        state=counted.status.state,
        backfilled=counted.status.backfilled,
        rows=[
            CohortRow(begin, *row)
            for begin, row in sorted(counted.rows.items())
            if row.persons and first <= begin <= last
        ],
        late_dropped=counted.late_dropped,
        updated_at=None if counted.updated_at is None else instant(counted.updated_at),
        positions=dict(sorted(counted.positions.items())),
    )
