"""The intervals that a trends query asks for, and those that it compares them to."""

from typing import NamedTuple

from schemas.queries.trends import TrendsQuery
from services.query.queries.intervals import Intervals, Slot


class TrendsPlan(NamedTuple):
    """The intervals of a query, and of the period before if it compares to that."""

    query: TrendsQuery
    slots: list[Slot]
    previous: list[Slot]

    @property
    def periods(self) -> list[list[Slot]]:
        """The intervals of each period that is counted; the present period is the first."""
        return [self.slots, self.previous] if self.previous else [self.slots]


def plan_trends(query: TrendsQuery, now: int) -> TrendsPlan:
    """Return the intervals that a query asks for at a time of day (ms).

    Raises:
        InvalidRequest: the range is none, or has too many intervals.
    """
    intervals = Intervals(query.interval, query.timezone, query.week_start)
    slots = intervals.of_query(query, query.last, now)
    return TrendsPlan(query, slots, intervals.previous(slots, now) if query.compare else [])
