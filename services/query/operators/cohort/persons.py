"""The persons of one cell of a cohort's grid, from ClickHouse.

Names and values of a definition are bound parameters of the statement, never its text.
"""

import datetime
from typing import Final, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from schemas.errors import InvalidRequest
from schemas.operators.cohort import CohortDefinition
from schemas.time.calendar import begin_of, number_of
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import EventSource, Statement, limit_sql
from services.query.clickhouse.queries import QueryResult
from services.query.http.params import read_choice, read_day, read_number, read_page
from services.query.operators.cohort.sql import persons_sql

CellField = Literal["persons", "returned", "returned_or_later"]
FIELDS: Final[tuple[CellField, ...]] = ("persons", "returned", "returned_or_later")

_CONDITIONS: Final[dict[CellField, str]] = {
    "persons": "1",
    "returned": "has(back, began + {column})",
    "returned_or_later": "last >= began + {column}",
}


class CohortPersonsResponse(msgspec.Struct, frozen=True):
    """Some persons of a cohort, by id; `next` is the next page's `after`, null at the end.

    `positions` and `complete_until` say which events are included, as with the results: with the
    positions as `as_of`, further pages are of the same events.
    """

    persons: list[str]
    next: str | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None


class Cell(NamedTuple):
    """The cell of a grid whose persons are asked for, and which page of them."""

    period: int  # in which they began
    counted: CellField
    column: int
    after: str
    limit: int | None


def read_cell(request: Request, definition: CohortDefinition) -> Cell:
    """Read which cell a request is for.

    Raises:
        InvalidRequest: names the parameter and what is accepted.
    """
    cohort = definition.cohort
    counted = read_choice(request, "counted", FIELDS)
    column = read_number(request, "column", 0, cohort.periods - 1, 0)
    begin = read_day(request, "begin", datetime.date.min)
    if begin == datetime.date.min:
        raise InvalidRequest("is required: the `begin` of a row, as YYYY-MM-DD", "begin")
    period = number_of(cohort.period, begin, cohort.week_start)
    if begin_of(cohort.period, period, cohort.week_start) != begin:
        raise InvalidRequest(f"no {cohort.period} begins on that day", "begin")
    return Cell(period, counted, column, *read_page(request))


def cell_statement(source: EventSource, definition: CohortDefinition, cell: Cell) -> Statement:
    """Return the statement for a page of persons, and one more if there are more.

    Without a limit it is for all of them.
    """
    limit = None if cell.limit is None else cell.limit + 1
    bind = Binder()
    holds = _CONDITIONS[cell.counted].format(column=bind(cell.column, "UInt16"))
    text = f"""
SELECT person_id FROM ({persons_sql(source, definition, bind)})
WHERE began = {bind(cell.period, "Int32")} AND {holds} AND person_id > {bind(cell.after, "String")}
ORDER BY person_id{limit_sql(limit, bind)}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_persons(
    cell: Cell, result: QueryResult, complete_until: datetime.datetime | None = None
) -> CohortPersonsResponse:
    """Read the result of a `cell_statement`."""
    page = result.page(cell.limit or len(result.only))
    return CohortPersonsResponse(*page, result.positions, complete_until)
