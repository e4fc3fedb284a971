"""The intervals that a trends query asks for, and those that it compares them to."""

from typing import NamedTuple

from schemas.errors import InvalidRequest
from schemas.queries.trends import DEFAULT_INTERVALS, TrendsQuery
from services.query.queries.intervals import Intervals, Slot
from services.query.queries.ranges import TimeRange, check_order, read_from, read_to


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
    end = now + 1 if query.to is None else read_to(query.to, query.timezone)
    if query.from_ is not None:
        begin = read_from(query.from_, query.timezone)
        if begin > now:
            raise InvalidRequest("must not lie in the future", "from")
    else:
        begin = intervals.last(query.last or DEFAULT_INTERVALS, min(end, now + 1))
    slots = intervals.slots(check_order(TimeRange(begin, end)), now)
    if query.to is None:  # the present interval counts to its end, and is incomplete until then
        slots[-1] = slots[-1]._replace(last=slots[-1].end)
    return TrendsPlan(query, slots, intervals.previous(slots, now) if query.compare else [])
