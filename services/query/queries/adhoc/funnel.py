"""A funnel that is asked once."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from schemas.queries.adhoc import FUNNEL as SPEC
from schemas.queries.adhoc import (
    FunnelBreakdownBy,
    FunnelPersons,
    FunnelQuery,
)
from schemas.time.calendar import begin_of, find_zone, midnight
from services.query.clickhouse.events import EventSource, Statement
from services.query.queries.adhoc.days import ONE_DAY, read_days
from services.query.queries.adhoc.funnel_plan import FunnelPlan, plan_funnel
from services.query.queries.adhoc.funnel_rows import FIRST_DAY_KEY, read_day_key
from services.query.queries.adhoc.funnel_sql import (
    figures_statement,
    persons_statement,
    top_statement,
)
from services.query.queries.adhoc.labels import (
    EVERY,
    OTHER,
    BreakdownValue,
    asked_label,
    value_of,
)
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.response import QueryResponse
from services.query.queries.rows import Row
from services.query.tables.columns import columns


class FunnelValueResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one value of the breakdown; null if it is not set.

    `other` marks those of all values that are not shown. The lists are as in the whole answer.
    """

    value: BreakdownValue
    other: bool
    reached: list[int]
    conversion: list[float | None]
    dropped: list[int]
    open: list[int]
    mean_ms: list[int | None]
    median_ms: list[int | None]
    p90_ms: list[int | None]
    entries: list[int]


class FunnelDayResponse(msgspec.Struct, frozen=True):
    """How many persons who entered on a day reached each step.

    It is `incomplete` as long as their windows are open.
    """

    day: datetime.date
    reached: list[int]
    incomplete: bool


class FunnelPersonsPage(msgspec.Struct, frozen=True):
    """Some of the persons that were asked for, by id; `next` is the next page's `after`."""

    persons: list[str]
    next: str | None


class FunnelQueryResponse(QueryResponse, frozen=True, kw_only=True):
    """How many persons who entered in the range reached each step, each person once.

    The figures are lists, by step. `conversion` is the share of those who entered; null if nobody
    did. Of the persons who reached the step before, which is the nearest that is not optional, but
    not the step, `open` are those who have time left for it, and `dropped` the others; both are 0
    for the first step.

    Times are those that persons took to the step from their first, with the first of their chains
    to reach it: the mean, the median and the 90th percentile, which are exact; null if nobody
    reached the step. `entries` is how many chains reached it; empty if the funnel does not count
    them.

    `days` are those on which anybody entered. `breakdown` has the values with which the most
    persons entered first; it is empty without one. `persons` is null unless they were asked for.
    """

    steps: list[str]
    reached: list[int]
    conversion: list[float | None]
    dropped: list[int]
    open: list[int]
    mean_ms: list[int | None]
    median_ms: list[int | None]
    p90_ms: list[int | None]
    entries: list[int]
    days: list[FunnelDayResponse]
    breakdown: list[FunnelValueResponse]
    persons: FunnelPersonsPage | None


async def _answer(context: QueryContext, query: FunnelQuery) -> FunnelQueryResponse:
    plan = plan_funnel(context.project_id, query, context.complete_until)
    shown = await _shown(context, query, plan)
    result = await context.run_labelled(
        lambda source, token: figures_statement(source, plan, token, shown),
        query.where,
        plan.span,
        plan.label,
    )
    found: dict[int, dict[str, Any]] = {}
    reached: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(query.funnel.steps))
    for key, count, *lists in zip(*result.columns, strict=True):
        if int(key) < FIRST_DAY_KEY:
            found[int(key)] = _figures(plan, lists)
        else:
            day, step = read_day_key(int(key))
            reached[day][step - 1] = int(count)
    days = [
        FunnelDayResponse(
            begin_of("day", number),
            reached[number],
            not context.is_complete(_end_of(query, number) + plan.window_ms),
        )
        for number in sorted(reached)
    ]
    nothing = _figures(plan, [[]] * _COLUMNS)
    return FunnelQueryResponse(
        **context.parts(incomplete=any(day.incomplete for day in days)),
        **found.get(EVERY, nothing),
        steps=[step.event for step in query.funnel.steps],
        days=days,
        breakdown=[
            FunnelValueResponse(
                value=value_of(shown, label),
                other=label == OTHER,
                **found[label],
            )
            for label in [*range(1, len(shown) + 1), OTHER]
            if label in found
        ],
        persons=await _persons(context, query, plan, shown),
    )


_COLUMNS: Final = 7


def _figures(plan: FunnelPlan, columns: Sequence[Any]) -> dict[str, Any]:
    """Return the figures by their fields from a row of a `figures_statement`."""
    steps = len(plan.definition.funnel.steps)
    reached, still_open, dropped, sums, medians, p90s, entries = (
        [int(one) for one in column] or [0] * steps for column in columns
    )

    def known(times: Sequence[float]) -> list[int | None]:
        return [round(time) if count else None for time, count in zip(times, reached, strict=True)]

    return {
        "reached": reached,
        "conversion": [persons / reached[0] if reached[0] else None for persons in reached],
        "dropped": dropped,
        "open": still_open,
        "mean_ms": known(
            [total / (count or 1) for total, count in zip(sums, reached, strict=True)]
        ),
        "median_ms": known(medians),
        "p90_ms": known(p90s),
        "entries": entries if plan.definition.funnel.entries else [],
    }


async def _shown(context: QueryContext, query: FunnelQuery, plan: FunnelPlan) -> list[str]:
    """Return the tokens of the values that are shown, in their order."""
    if plan.label is None:
        return []
    span = (plan.begin, plan.end) if plan.labelled_at_entry else plan.span
    result = await context.run_labelled(
        lambda source, token: top_statement(source, plan, token, query.top),
        query.where,
        span,
        plan.label,
    )
    return [str(token) for token in result.only]


async def _persons(
    context: QueryContext, query: FunnelQuery, plan: FunnelPlan, shown: Sequence[str]
) -> FunnelPersonsPage | None:
    asked = query.persons
    if asked is None:
        return None
    state = _persons_state(context, query, plan, shown, asked, asked.limit + 1)
    result = await context.events.query(context.project_id, state, context.positions)
    return FunnelPersonsPage(*result.page(asked.limit))


async def _all_persons(context: QueryContext, query: FunnelQuery) -> StateStatement | None:
    if query.persons is None:
        return None
    plan = plan_funnel(context.project_id, query, context.complete_until)
    shown = await _shown(context, query, plan)
    return _persons_state(context, query, plan, shown, query.persons, None)


def _persons_state(
    context: QueryContext,
    query: FunnelQuery,
    plan: FunnelPlan,
    shown: Sequence[str],
    asked: FunnelPersons,
    limit: int | None,
) -> Callable[[EventSource], Statement]:
    """Return what makes the statement for the persons that a query asks for."""
    among, label = asked_label(asked, shown)
    return context.labelled(
        lambda source, token: persons_statement(source, plan, token, among, label, asked, limit),
        query.where,
        plan.span,
        plan.label,
    )


def _end_of(query: FunnelQuery, day: int) -> int:
    return midnight(begin_of("day", day + 1), find_zone(query.timezone))


def _rows(answer: FunnelQueryResponse) -> Iterator[Row]:
    parts: list[tuple[Row, FunnelQueryResponse | FunnelValueResponse]] = [
        ({"value": None, "other": None}, answer)
    ]
    parts += [({"value": one.value, "other": one.other}, one) for one in answer.breakdown]
    for about, figures in parts:
        for number, event in enumerate(answer.steps):
            yield {
                "step": number + 1,
                "event": event,
                **about,
                "reached": figures.reached[number],
                "conversion": figures.conversion[number],
                "dropped": figures.dropped[number],
                "open": figures.open[number],
                "median_ms": figures.median_ms[number],
            }


def _closes(query: FunnelQuery, _: int) -> int:
    """Return when the last window of the range has passed."""
    last = read_days(query)[1]
    return midnight(last + ONE_DAY, find_zone(query.timezone)) + 1_000 * query.funnel.window_s


FUNNEL: Final = QueryKind(
    SPEC,
    _answer,
    "QueryFunnel",
    FunnelQueryResponse,
    (
        FunnelQuery,
        FunnelBreakdownBy,
        FunnelPersons,
        FunnelQueryResponse,
        FunnelValueResponse,
        FunnelDayResponse,
        FunnelPersonsPage,
    ),
    rows=_rows,
    table=columns(
        step="integer",
        event="text",
        value="json",
        other="boolean",
        reached="integer",
        conversion="number",
        dropped="integer",
        open="integer",
        median_ms="number",
    ),
    check=read_days,
    closes=_closes,
    persons=_all_persons,
)
