"""Trends, as they are registered on the query side."""

from collections.abc import Iterator
from typing import Final

from schemas.queries.trends import TRENDS as SPEC
from schemas.queries.trends import TrendsQuery
from services.query.http.describe import Json
from services.query.http.forms import one_of_forms
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.response import IntervalResponse
from services.query.queries.rows import Row, joined
from services.query.queries.trends.figures import read_figures
from services.query.queries.trends.plan import plan_trends
from services.query.queries.trends.response import (
    TrendResponse,
    TrendsPeriodResponse,
    TrendsResponse,
    assemble,
)
from services.query.queries.trends.sql import Label, top_select, trends_select
from services.query.tables.columns import columns


async def _answer(context: QueryContext, query: TrendsQuery) -> TrendsResponse:
    plan = plan_trends(query, context.now)
    shown: list[Label] = []
    if query.breakdown:
        top = await context.run(top_select(plan))
        shown = [tuple(map(str, label)) for label in zip(*top.columns, strict=True)]
    result = await context.run(trends_select(plan, shown))
    return assemble(plan, read_figures(query, shown, result), context)


def _refine(schemas: Json) -> None:
    forms: dict[str, tuple[str, ...]] = {"property": (), "person": (), "segment": ()}
    schemas["BreakdownBy"] = one_of_forms(schemas["BreakdownBy"], forms)


def _rows(answer: TrendsResponse) -> Iterator[Row]:
    for trend in answer.trends:
        for row in joined(answer.intervals, value=trend.values):
            yield {
                "series": trend.series,
                "name": trend.name,
                "breakdown": trend.breakdown,
                "other": trend.other,
                **row,
            }


TRENDS: Final = QueryKind(
    spec=SPEC,
    answer=_answer,
    rpc="QueryTrends",
    response=TrendsResponse,
    types=(TrendsQuery, TrendsResponse, TrendsPeriodResponse, TrendResponse, IntervalResponse),
    rows=_rows,
    table=columns(
        series="text",
        name="text",
        breakdown="json",
        other="boolean",
        begin="time",
        end="time",
        incomplete="boolean",
        value="number",
    ),
    refine=_refine,
    check=plan_trends,
    closes=lambda query, now: plan_trends(query, now).slots[-1].last,
)
