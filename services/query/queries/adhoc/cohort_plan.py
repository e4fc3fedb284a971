"""What a cohort query asks for: the rows of its grid, and when its cells are complete."""

import datetime
from typing import Final, NamedTuple

import msgspec

from schemas.operators.cohort import Cohort
from schemas.queries.adhoc import CohortEntry, CohortQuery
from schemas.time.calendar import Period, begin_of, find_zone, midnight, number_of
from services.query.clickhouse.tree import Label
from services.query.queries.adhoc.days import read_days
from services.query.queries.adhoc.labels import label_of

_DAY_MS: Final = 86_400_000
# How long a rolling column is.
_LENGTHS_MS: Final[dict[Period, int]] = {"day": _DAY_MS, "week": 7 * _DAY_MS, "month": 30 * _DAY_MS}


class CohortPlan(NamedTuple):
    """A grid whose rows are the periods from number `first` to number `last`, both included.

    `rolling_ms` is the length of a rolling column; None if columns are periods of the calendar.
    """

    project_id: str
    cohort: Cohort
    entry: CohortEntry
    rolling_ms: int | None
    label: Label | None
    first: int
    last: int

    def day(self, number: int) -> datetime.date:
        """Return the day on which a period begins."""
        return begin_of(self.cohort.period, number, self.cohort.week_start)

    def begin(self, number: int) -> int:
        """Return the time (ms) at which a period begins."""
        return midnight(self.day(number), find_zone(self.cohort.timezone))

    def number(self, day: datetime.date) -> int:
        """Return the number of the period of a day."""
        return number_of(self.cohort.period, day, self.cohort.week_start)

    def opens(self, row: int, column: int) -> int:
        """Return the earliest time (ms) at which an event can be in a cell."""
        if self.rolling_ms is None:
            return self.begin(row + column)
        return self.begin(row) + column * self.rolling_ms

    def closes(self, row: int, column: int) -> int:
        """Return the time (ms) from which on no event can be in a cell."""
        if self.rolling_ms is None:
            return self.begin(row + column + 1)
        return self.begin(row + 1) + (column + 1) * self.rolling_ms


def plan_cohort(project_id: str, query: CohortQuery) -> CohortPlan:
    """Return the plan of a query."""
    cohort = msgspec.structs.replace(
        query.cohort, timezone=query.timezone, week_start=query.week_start
    )
    first, last = (number_of(cohort.period, day, cohort.week_start) for day in read_days(query))
    return CohortPlan(
        project_id,
        cohort,
        query.entry,
        _LENGTHS_MS[cohort.period] if query.columns == "rolling" else None,
        None if query.breakdown is None else label_of(query.breakdown),
        first,
        last,
    )
