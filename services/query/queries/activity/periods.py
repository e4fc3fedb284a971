"""The whole intervals that an activity query is about, numbered from 1."""

from schemas.errors import InvalidRequest
from schemas.queries.activity import MAX_PERIODS, ActivityQuery
from services.query.clickhouse.tree import Expression, Value, sql
from services.query.queries.intervals import Intervals, Slot


def periods(query: ActivityQuery, now: int) -> list[Slot]:
    """Return the intervals that a query asks for at a time of day (ms).

    Raises:
        InvalidRequest: the range is none, or has too many intervals.
    """
    intervals = Intervals(query.interval, query.timezone, query.week_start)
    slots = intervals.of_query(query, query.last, now)
    if len(slots) > MAX_PERIODS:
        raise InvalidRequest(f"must be longer: there would be more than {MAX_PERIODS}", "interval")
    return [Slot(slot.begin, slot.end, slot.begin, slot.end) for slot in slots]


def number_of(slots: list[Slot], first: int = 1) -> Expression:
    """Return the number of the interval that the time `at` (ms) lies in, for times in `slots`."""
    begins = Value([slot.begin for slot in slots], "Array(Int64)")
    numbers = Value(list(range(first, first + len(slots))), "Array(Int32)")
    return sql(
        "transform(roundDown(at, {begins}), {begins}, {numbers}, toInt32(0))",
        begins=begins,
        numbers=numbers,
    )
