"""A retention grid that is asked once, by the statement of defined ones."""

import datetime
from typing import Any, Final

import msgspec

from schemas.operators.cohort import CohortDefinition
from schemas.queries.adhoc import COHORT as SPEC
from schemas.queries.adhoc import CohortQuery
from schemas.time.calendar import begin_of, find_zone, midnight, number_of
from services.query.operators.cohort.sql import cohort_statement, read_counts
from services.query.queries.adhoc.days import parts_of, read_days
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.response import QueryResponse
from services.query.queries.rows import Row, rows_of
from services.query.tables.columns import columns


class CohortCellResponse(msgspec.Struct, frozen=True):
    """How many of a row came back in one period, and in that or any later one.

    Both are null for a period that has not begun. It is `incomplete` until it has ended.
    """

    returned: int | None
    returned_or_later: int | None
    incomplete: bool


class CohortRowResponse(msgspec.Struct, frozen=True):
    """The persons who began in the period whose first day is `begin`."""

    begin: datetime.date
    persons: int
    cells: list[CohortCellResponse]


class CohortQueryResponse(QueryResponse, frozen=True, kw_only=True):
    """A retention grid.

    Item n of `mean` is the share of persons who came back in the n-th period: all who did, of all
    persons of the rows whose n-th period is complete. It is null if there is none.
    """

    rows: list[CohortRowResponse]
    mean: list[float | None]


async def _answer(context: QueryContext, query: CohortQuery) -> CohortQueryResponse:
    first, last = read_days(query)
    own: dict[str, Any] = parts_of(context.project_id)
    cohort = msgspec.structs.replace(
        query.cohort, timezone=query.timezone, week_start=query.week_start
    )
    definition = CohortDefinition(**own, cohort=cohort)
    result = await context.run_statement(
        lambda source: cohort_statement(source, definition), query.where
    )
    counts = read_counts(definition, result, context.now)
    zone = find_zone(query.timezone)

    def at(number: int) -> int:
        return midnight(begin_of(cohort.period, number, query.week_start), zone)

    def cell(number: int, returned: int, or_later: int) -> CohortCellResponse:
        begun = at(number) <= context.now
        complete = context.is_complete(at(number + 1))
        return CohortCellResponse(
            returned if begun else None, or_later if begun else None, not complete
        )

    rows = [
        CohortRowResponse(
            begin,
            row.persons,
            [
                cell(number_of(cohort.period, begin, query.week_start) + column, *pair)
                for column, pair in enumerate(zip(row.returned, row.returned_or_later, strict=True))
            ],
        )
        for begin, row in sorted(counts.rows.items())
        if row.persons and first <= begin <= last
    ]
    return CohortQueryResponse(
        **context.parts(incomplete=any(one.incomplete for row in rows for one in row.cells)),
        rows=rows,
        mean=[_mean(rows, column) for column in range(cohort.periods)],
    )


def _mean(rows: list[CohortRowResponse], column: int) -> float | None:
    complete = [row for row in rows if not row.cells[column].incomplete]
    persons = sum(row.persons for row in complete)
    returned = sum(row.cells[column].returned or 0 for row in complete)
    return returned / persons if persons else None


def _rows(answer: CohortQueryResponse) -> list[Row]:
    return [
        {"begin": row.begin.isoformat(), "persons": row.persons, "period": number, **cell}
        for row in answer.rows
        for number, cell in enumerate(rows_of(row.cells))
    ]


COHORT: Final = QueryKind(
    SPEC,
    _answer,
    "QueryCohort",
    CohortQueryResponse,
    (CohortQuery, CohortQueryResponse, CohortRowResponse, CohortCellResponse),
    rows=_rows,
    table=columns(
        begin="day",
        persons="integer",
        period="integer",
        returned="integer",
        returned_or_later="integer",
        incomplete="boolean",
    ),
    check=read_days,
)
