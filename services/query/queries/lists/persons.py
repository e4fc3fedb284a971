"""Persons by id, page by page."""

import datetime
from collections.abc import Mapping
from typing import Final

import msgspec

from schemas.queries.lists import PERSONS as SPEC
from schemas.queries.lists import PersonsQuery
from services.query.clickhouse.queries import QueryResult
from services.query.clickhouse.tree import Events, Expression, Person, Select, Value, sql
from services.query.http.params import instant
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.ranges import read_range
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.tables.columns import columns


class PersonSummaryResponse(msgspec.Struct, frozen=True):
    """A person, with the first, the last and the number of the events that the query selects."""

    person: str
    first_seen: datetime.datetime
    last_seen: datetime.datetime
    events: int


class PersonsResponse(QueryResponse, frozen=True, kw_only=True):
    """Some persons, by id; `next` is the next page's `after`, null at the end."""

    persons: list[PersonSummaryResponse]
    next: str | None


def persons_select(query: PersonsQuery) -> Select:
    """Return the query of a page of persons, and of one more."""
    seen: dict[str, Expression] = {
        "first_seen": sql("toUnixTimestamp64Milli(min(timestamp))"),
        "last_seen": sql("toUnixTimestamp64Milli(max(timestamp))"),
    }
    return _select(query, seen, query.limit + 1)


def _select(
    query: PersonsQuery, seen: Mapping[str, Expression], limit: int | None = None
) -> Select:
    where: list[Expression] = []
    if query.after:
        where.append(sql("{id} > {after}", id=Person(), after=Value(query.after, "String")))
    if query.search:
        part = Value(query.search, "String")
        where.append(sql("positionCaseInsensitiveUTF8({id}, {part}) > 0", id=Person(), part=part))
    return Select(
        {
            "person": Person(),
            **seen,
            "events": sql("count()"),
        },
        Events([read_range(query)], query.where),
        where=where,
        group_by=("person",),
        order_by=(sql("person"),),
        limit=limit,
    )


def read_persons(result: QueryResult, limit: int) -> tuple[list[PersonSummaryResponse], str | None]:
    """Read the result of a `persons_select`, and where the next page begins."""
    found = [
        PersonSummaryResponse(person, instant(int(first)), instant(int(last)), int(events))
        for person, first, last, events in zip(*result.columns, strict=True)
    ]
    return found[:limit], found[limit - 1].person if len(found) > limit else None


async def _answer(context: QueryContext, query: PersonsQuery) -> PersonsResponse:
    result = await context.run(persons_select(query))
    persons, after = read_persons(result, query.limit)
    return PersonsResponse(**context.parts(), persons=persons, next=after)


async def _export(context: QueryContext, query: PersonsQuery) -> StateStatement:
    seen: dict[str, Expression] = {
        "first_seen": sql("min(timestamp)"),
        "last_seen": sql("max(timestamp)"),
    }
    return context.printed(_select(query, seen))


PERSONS: Final = QueryKind(
    SPEC,
    _answer,
    "QueryPersons",
    PersonsResponse,
    (PersonsQuery, PersonsResponse, PersonSummaryResponse),
    rows=lambda answer: rows_of(answer.persons),
    table=columns(person="text", first_seen="time", last_seen="time", events="integer"),
    export=_export,
)
