"""Stickiness: persons by how many intervals they are active in."""

from typing import Final

from schemas.queries.activity import STICKINESS as SPEC
from schemas.queries.activity import StickinessQuery
from services.query.clickhouse.tree import Events, Matches, Person, Select, column, sql
from services.query.queries.activity.periods import number_of, periods
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.intervals import Slot
from services.query.queries.response import IntervalResponse, QueryResponse, interval_response
from services.query.queries.rows import Row
from services.query.tables.columns import columns


class StickinessResponse(QueryResponse, frozen=True, kw_only=True):
    """How many persons have events in how many intervals.

    Item n of `exactly` (from 0) is how many have events in n + 1 intervals, and item n of
    `at_least` how many in that many or more. Persons without events are not counted.
    """

    interval: str
    timezone: str
    intervals: list[IntervalResponse]
    exactly: list[int]
    at_least: list[int]


def stickiness_select(query: StickinessQuery, slots: list[Slot]) -> Select:
    """Return the query of numbers of intervals, and how many persons are active in so many."""
    found = Select(
        {"person": Person(), "at": sql("toUnixTimestamp64Milli(timestamp)")},
        Events([(slots[0].begin, slots[-1].end)], query.where),
        where=(Matches(query.event),),
    )
    persons = Select(
        {"who": column("person"), "active": sql("uniqExact({number})", number=number_of(slots))},
        found,
        group_by=("who",),
    )
    return Select(
        {"number": column("active"), "total": sql("count()")}, persons, group_by=("number",)
    )


async def _answer(context: QueryContext, query: StickinessQuery) -> StickinessResponse:
    slots = periods(query, context.now)
    result = await context.run(stickiness_select(query, slots))
    exactly = [0] * len(slots)
    for number, total in zip(*result.columns, strict=True):
        exactly[int(number) - 1] = int(total)
    intervals = [interval_response(slot, context.is_complete(slot.end)) for slot in slots]
    return StickinessResponse(
        **context.parts(incomplete=any(one.incomplete for one in intervals)),
        interval=query.interval,
        timezone=query.timezone,
        intervals=intervals,
        exactly=exactly,
        at_least=[sum(exactly[at:]) for at in range(len(exactly))],
    )


def _rows(answer: StickinessResponse) -> list[Row]:
    counts = zip(answer.exactly, answer.at_least, strict=True)
    return [
        {"intervals": number, "exactly": exactly, "at_least": at_least}
        for number, (exactly, at_least) in enumerate(counts, 1)
    ]


STICKINESS: Final = QueryKind(
    SPEC,
    _answer,
    "QueryStickiness",
    StickinessResponse,
    (StickinessQuery, StickinessResponse, IntervalResponse),
    rows=_rows,
    table=columns(intervals="integer", exactly="integer", at_least="integer"),
    check=periods,
    closes=lambda query, now: periods(query, now)[-1].end,
)
