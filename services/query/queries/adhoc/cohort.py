"""A retention grid that is asked once."""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from schemas.queries.adhoc import COHORT as SPEC
from schemas.queries.adhoc import CohortPersons, CohortQuery
from schemas.queries.trends import BreakdownBy
from services.query.clickhouse.events import EventSource, Statement
from services.query.queries.adhoc.cohort_plan import CohortPlan, plan_cohort
from services.query.queries.adhoc.cohort_sql import (
    grid_statement,
    persons_statement,
    top_statement,
)
from services.query.queries.adhoc.days import read_days
from services.query.queries.adhoc.labels import (
    OTHER,
    BreakdownValue,
    asked_label,
    value_of,
)
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.response import QueryResponse
from services.query.queries.rows import Row, rows_of
from services.query.tables.columns import columns


class CohortCellResponse(msgspec.Struct, frozen=True):
    """How many of a row came back in one column, and in that or any later one.

    Both are null for a column that has not begun for anybody. It is `incomplete` until it has ended
    for everybody; even then persons may still come back in a later one.
    """

    returned: int | None
    returned_or_later: int | None
    incomplete: bool


class CohortRowResponse(msgspec.Struct, frozen=True):
    """The persons who belong to the period whose first day is `begin`."""

    begin: datetime.date
    persons: int
    cells: list[CohortCellResponse]


class CohortValueResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The grid of one value of the breakdown; null if it is not set.

    `other` marks that of all values that are not shown. `mean` and `mean_or_later` are as in the
    whole answer.
    """

    value: BreakdownValue
    other: bool
    rows: list[CohortRowResponse]
    mean: list[float | None]
    mean_or_later: list[float | None]


class CohortPersonsPage(msgspec.Struct, frozen=True):
    """Some of the persons that were asked for, by id; `next` is the next page's `after`."""

    persons: list[str]
    next: str | None


class CohortQueryResponse(QueryResponse, frozen=True, kw_only=True):
    """A retention grid; periods in which nobody began are left out.

    Item n of `mean` is the share of persons who came back in column n: all who did, of all persons
    of the rows whose column n is complete. It is null if there is none. `mean_or_later` is the same
    of those who came back in that or any later column. `breakdown` has the values with the most
    persons first; it is empty without one. `persons` is null unless they were asked for.
    """

    rows: list[CohortRowResponse]
    mean: list[float | None]
    mean_or_later: list[float | None]
    breakdown: list[CohortValueResponse]
    persons: CohortPersonsPage | None


class _Counts(msgspec.Struct, frozen=True):
    """How many belong to a row, and came back in each column, and in that or a later one."""

    persons: int
    returned: list[int]
    or_later: list[int]


_Grid = Mapping[int, _Counts]


async def _answer(context: QueryContext, query: CohortQuery) -> CohortQueryResponse:
    plan = plan_cohort(context.project_id, query)
    shown = await _shown(context, query, plan)
    result = await context.run_labelled(
        lambda source, token: grid_statement(source, plan, token, shown),
        query.where,
        label=plan.label,
    )
    grids: dict[int, dict[int, _Counts]] = {}
    for began, label, persons, returned, or_later in zip(*result.columns, strict=True):
        counts = _Counts(int(persons), [*map(int, returned)], [*map(int, or_later)])
        grids.setdefault(int(label), {})[int(began)] = counts
    rows = _shown_rows(context, plan, _sum(list(grids.values())))
    breakdown = []
    for label in [*range(1, len(shown) + 1), OTHER] if plan.label is not None else []:
        if label in grids:
            its = _shown_rows(context, plan, grids[label])
            breakdown.append(
                CohortValueResponse(
                    value=value_of(shown, label),
                    other=label == OTHER,
                    rows=its,
                    mean=_means(plan, its, "returned"),
                    mean_or_later=_means(plan, its, "returned_or_later"),
                )
            )
    return CohortQueryResponse(
        **context.parts(incomplete=any(one.incomplete for row in rows for one in row.cells)),
        rows=rows,
        mean=_means(plan, rows, "returned"),
        mean_or_later=_means(plan, rows, "returned_or_later"),
        breakdown=breakdown,
        persons=await _persons(context, query, plan, shown),
    )


def _sum(grids: Sequence[_Grid]) -> _Grid:
    """Return the grid of all labels: a person has one label in a row."""
    found: dict[int, _Counts] = {}
    for grid in grids:
        for row, counts in grid.items():
            known = found.get(row)
            found[row] = counts if known is None else _add(known, counts)
    return found


def _add(one: _Counts, other: _Counts) -> _Counts:
    return _Counts(
        one.persons + other.persons,
        [a + b for a, b in zip(one.returned, other.returned, strict=True)],
        [a + b for a, b in zip(one.or_later, other.or_later, strict=True)],
    )


def _shown_rows(context: QueryContext, plan: CohortPlan, grid: _Grid) -> list[CohortRowResponse]:
    def cell(row: int, column: int) -> CohortCellResponse:
        begun = plan.opens(row, column) <= context.now
        counts = grid[row]
        return CohortCellResponse(
            counts.returned[column] if begun else None,
            counts.or_later[column] if begun else None,
            not context.is_complete(plan.closes(row, column)),
        )

    columns = range(plan.cohort.periods)
    return [
        CohortRowResponse(plan.day(row), grid[row].persons, [cell(row, one) for one in columns])
        for row in sorted(grid)
    ]


def _means(plan: CohortPlan, rows: Sequence[CohortRowResponse], field: str) -> list[float | None]:
    """Return the share of those who came back of all persons, column by column."""
    means: list[float | None] = []
    for column in range(plan.cohort.periods):
        complete = [row for row in rows if not row.cells[column].incomplete]
        persons = sum(row.persons for row in complete)
        returned = sum(getattr(row.cells[column], field) or 0 for row in complete)
        means.append(returned / persons if persons else None)
    return means


async def _shown(context: QueryContext, query: CohortQuery, plan: CohortPlan) -> list[str]:
    """Return the tokens of the values that are shown, in their order."""
    if plan.label is None:
        return []
    result = await context.run_labelled(
        lambda source, token: top_statement(source, plan, token, query.top),
        query.where,
        label=plan.label,
    )
    return [str(token) for token in result.only]


async def _persons(
    context: QueryContext, query: CohortQuery, plan: CohortPlan, shown: Sequence[str]
) -> CohortPersonsPage | None:
    asked = query.persons
    if asked is None:
        return None
    state = _persons_state(context, query, plan, shown, asked, asked.limit + 1)
    result = await context.events.query(context.project_id, state, context.positions)
    return CohortPersonsPage(*result.page(asked.limit))


async def _all_persons(context: QueryContext, query: CohortQuery) -> StateStatement | None:
    if query.persons is None:
        return None
    plan = plan_cohort(context.project_id, query)
    shown = await _shown(context, query, plan)
    return _persons_state(context, query, plan, shown, query.persons, None)


def _persons_state(
    context: QueryContext,
    query: CohortQuery,
    plan: CohortPlan,
    shown: Sequence[str],
    asked: CohortPersons,
    limit: int | None,
) -> Callable[[EventSource], Statement]:
    """Return what makes the statement for the persons that a query asks for."""
    among, label = asked_label(asked, shown)
    return context.labelled(
        lambda source, token: persons_statement(source, plan, token, among, label, asked, limit),
        query.where,
        label=plan.label,
    )


def _rows(answer: CohortQueryResponse) -> Iterator[Row]:
    parts: list[tuple[Row, list[CohortRowResponse]]] = [
        ({"value": None, "other": None}, answer.rows)
    ]
    parts += [({"value": one.value, "other": one.other}, one.rows) for one in answer.breakdown]
    for about, rows in parts:
        for row in rows:
            for number, cell in enumerate(rows_of(row.cells)):
                begin = row.begin.isoformat()
                yield {**about, "begin": begin, "persons": row.persons, "period": number, **cell}


COHORT: Final = QueryKind(
    SPEC,
    _answer,
    "QueryCohort",
    CohortQueryResponse,
    (
        CohortQuery,
        BreakdownBy,
        CohortPersons,
        CohortQueryResponse,
        CohortRowResponse,
        CohortCellResponse,
        CohortValueResponse,
        CohortPersonsPage,
    ),
    rows=_rows,
    table=columns(
        value="json",
        other="boolean",
        begin="day",
        persons="integer",
        period="integer",
        returned="integer",
        returned_or_later="integer",
        incomplete="boolean",
    ),
    check=read_days,
    persons=_all_persons,
)
