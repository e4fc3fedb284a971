"""The lifecycle: new, returning, resurrecting and dormant persons over time."""

from collections import Counter
from typing import Final

import msgspec

from schemas.queries.activity import LIFECYCLE as SPEC
from schemas.queries.activity import LifecycleQuery
from services.query.clickhouse.tree import Events, Matches, Person, Select, Value, column, sql
from services.query.queries.activity.periods import number_of, periods
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.intervals import Intervals, Slot
from services.query.queries.ranges import ALL_TIME
from services.query.queries.response import IntervalResponse, QueryResponse, interval_response
from services.query.queries.rows import joined
from services.query.tables.columns import columns


class LifecycleResponse(QueryResponse, frozen=True, kw_only=True):
    """How many persons were in each state, interval by interval.

    The persons of an interval are the sum of those who are new, returning and resurrecting. Who is
    dormant in an interval that is `incomplete` may still return.
    """

    interval: str
    timezone: str
    intervals: list[IntervalResponse]
    new: list[int]
    returning: list[int]
    resurrecting: list[int]
    dormant: list[int]


def lifecycle_select(query: LifecycleQuery, slots: list[Slot]) -> Select:
    """Return the query of rows with the number of an interval, a state, and how many persons.

    Number 0 is the interval before the first one of the range.
    """
    intervals = Intervals(query.interval, query.timezone, query.week_start)
    before = intervals.previous(slots[:1], slots[0].end)
    known = [*before, *slots]
    begin, end = Value(known[0].begin, "Int64"), slots[-1].end
    found = Select(
        {"person": Person(), "at": sql("toUnixTimestamp64Milli(timestamp)")},
        Events([(ALL_TIME.begin, end)], query.where),
        where=(Matches(query.event),),
    )
    persons = Select(
        {
            "who": column("person"),
            "first": sql(
                "if(min(at) < {begin}, -1, argMin({number}, at))",
                begin=begin,
                number=number_of(known, 0),
            ),
            "active": sql(
                "groupUniqArrayIf({number}, at >= {begin})", begin=begin, number=number_of(known, 0)
            ),
        },
        found,
        group_by=("who",),
    )
    states = Select(
        {
            "state": sql(
                "arrayJoin(arrayConcat("
                "arrayMap(n -> (n, multiIf(n = first, 'new', has(active, n - 1), 'returning',"
                " 'resurrecting')), arrayFilter(n -> n > 0, active)),"
                "arrayMap(n -> (toInt32(n + 1), 'dormant'),"
                " arrayFilter(n -> n < {last} AND NOT has(active, n + 1), active))))",
                last=Value(len(slots), "Int32"),
            )
        },
        persons,
    )
    return Select(
        {"number": sql("state.1"), "name": sql("state.2"), "total": sql("count()")},
        states,
        group_by=("number", "name"),
    )


async def _answer(context: QueryContext, query: LifecycleQuery) -> LifecycleResponse:
    slots = periods(query, context.now)
    result = await context.run(lifecycle_select(query, slots))
    counts: Counter[tuple[int, str]] = Counter()
    for number, name, total in zip(*result.columns, strict=True):
        counts[int(number), str(name)] = int(total)
    intervals = [interval_response(slot, context.is_complete(slot.end)) for slot in slots]

    def of(state: str) -> list[int]:
        return [counts[number, state] for number in range(1, len(slots) + 1)]

    return LifecycleResponse(
        **context.parts(incomplete=any(one.incomplete for one in intervals)),
        interval=query.interval,
        timezone=query.timezone,
        intervals=intervals,
        new=of("new"),
        returning=of("returning"),
        resurrecting=of("resurrecting"),
        dormant=of("dormant"),
    )


_TYPES: Final[tuple[type[msgspec.Struct], ...]] = (
    LifecycleQuery,
    LifecycleResponse,
    IntervalResponse,
)
LIFECYCLE: Final = QueryKind(
    SPEC,
    _answer,
    "QueryLifecycle",
    LifecycleResponse,
    _TYPES,
    rows=lambda answer: joined(
        answer.intervals,
        new=answer.new,
        returning=answer.returning,
        resurrecting=answer.resurrecting,
        dormant=answer.dormant,
    ),
    table=columns(
        begin="time",
        end="time",
        incomplete="boolean",
        new="integer",
        returning="integer",
        resurrecting="integer",
        dormant="integer",
    ),
    check=periods,
    closes=lambda query, now: periods(query, now)[-1].end,
)
