"""A funnel that is asked once, by the statements of defined ones."""

import datetime
from typing import Any, Final

import msgspec

from schemas.operators.funnel import FunnelDefinition
from schemas.queries.adhoc import FUNNEL as SPEC
from schemas.queries.adhoc import FunnelQuery
from schemas.time.calendar import begin_of, find_zone, midnight
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from services.query.operators.funnel.persons import reached_statement
from services.query.operators.funnel.sql import funnel_statement, read_counts
from services.query.queries.adhoc.days import parts_of, read_days
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.response import QueryResponse
from services.query.queries.rows import Row
from services.query.tables.columns import columns


class FunnelDayResponse(msgspec.Struct, frozen=True):
    """How many persons who entered on a day reached each step.

    It is `incomplete` as long as their windows are open.
    """

    day: datetime.date
    reached: list[int]
    incomplete: bool


class FunnelQueryResponse(QueryResponse, frozen=True, kw_only=True):
    """How many persons who entered in the range reached each step, each person once.

    `conversion` is the share of those who entered; null if nobody did. `days` are those on which
    anybody entered.
    """

    steps: list[str]
    reached: list[int]
    conversion: list[float | None]
    days: list[FunnelDayResponse]


async def _answer(context: QueryContext, query: FunnelQuery) -> FunnelQueryResponse:
    first, last = read_days(query)
    own: dict[str, Any] = parts_of(context.project_id)
    funnel = msgspec.structs.replace(
        query.funnel, timezone=query.timezone, week_start=query.week_start
    )
    definition = FunnelDefinition(**own, funnel=funnel)
    statement, read = (
        (funnel_statement, read_counts) if funnel.plain else (chain_statement, read_chain_counts)
    )
    counts = read(
        definition,
        await context.run_statement(
            lambda source: statement(source, definition, first, last), query.where
        ),
        context.now,
    )
    result = await context.run_statement(
        lambda source: reached_statement(source, definition, first, last), query.where
    )
    by_step = {int(step): int(persons) for step, persons in zip(*result.columns, strict=True)}
    reached = [by_step.get(number, 0) for number in range(1, len(funnel.steps) + 1)]
    days = [
        FunnelDayResponse(
            begin_of("day", day),
            of_day.reached,
            not context.is_complete(_end_of(query, day) + 1_000 * funnel.window_s),
        )
        for day, of_day in sorted(counts.days.items())
    ]
    return FunnelQueryResponse(
        **context.parts(incomplete=any(day.incomplete for day in days)),
        steps=[step.event for step in funnel.steps],
        reached=reached,
        conversion=[persons / reached[0] if reached[0] else None for persons in reached],
        days=days,
    )


def _end_of(query: FunnelQuery, day: int) -> int:
    return midnight(begin_of("day", day + 1), find_zone(query.timezone))


def _rows(answer: FunnelQueryResponse) -> list[Row]:
    steps = zip(answer.steps, answer.reached, answer.conversion, strict=True)
    return [
        {"step": number, "event": event, "reached": reached, "conversion": conversion}
        for number, (event, reached, conversion) in enumerate(steps, 1)
    ]


FUNNEL: Final = QueryKind(
    SPEC,
    _answer,
    "QueryFunnel",
    FunnelQueryResponse,
    (FunnelQuery, FunnelQueryResponse, FunnelDayResponse),
    rows=_rows,
    table=columns(step="integer", event="text", reached="integer", conversion="number"),
    check=read_days,
)
