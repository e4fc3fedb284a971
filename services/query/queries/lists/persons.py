"""Persons by id, page by page."""

import datetime
from collections.abc import Callable
from typing import Final

import msgspec

from schemas.queries.lists import PERSONS as SPEC
from schemas.queries.lists import PersonsQuery
from services.query.clickhouse.queries import QueryResult
from services.query.clickhouse.tree import Events, Expression, Person, Persons, Select, Value, sql
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


def persons_select(query: PersonsQuery, *, kept: bool = False) -> Select:
    """Return the query of a page of persons, and of one more.

    If the store keeps persons (`kept`), they are read as they are kept where that is the answer.
    """
    return _select(query, _in_ms, query.limit + 1, kept=kept)


def _select(
    query: PersonsQuery,
    as_shown: Callable[[Expression], Expression],
    limit: int | None = None,
    *,
    kept: bool,
) -> Select:
    where: list[Expression] = []
    if query.after:
        where.append(sql("{id} > {after}", id=Person(), after=Value(query.after, "String")))
    if query.search:
        part = Value(query.search, "String")
        where.append(sql("positionCaseInsensitiveUTF8({id}, {part}) > 0", id=Person(), part=part))
    if kept and not query.where and query.from_ is None and query.to is None:
        return Select(
            {
                "person": Person(),
                "first": as_shown(sql("first_seen")),
                "last": as_shown(sql("last_seen")),
                "total": sql("events"),
            },
            Persons(),
            where=where,
            order_by=(sql("person"),),
            limit=limit,
        )
    return Select(
        {
            "person": Person(),
            "first_seen": as_shown(sql("min(timestamp)")),
            "last_seen": as_shown(sql("max(timestamp)")),
            "events": sql("count()"),
        },
        Events([read_range(query)], query.where),
        where=where,
        group_by=("person",),
        order_by=(sql("person"),),
        limit=limit,
    )


def _in_ms(at: Expression) -> Expression:
    return sql("toUnixTimestamp64Milli({at})", at=at)


def _unchanged(at: Expression) -> Expression:
    return at


def read_persons(result: QueryResult, limit: int) -> tuple[list[PersonSummaryResponse], str | None]:
    """Read the result of a `persons_select`, and where the next page begins."""
    found = [
        PersonSummaryResponse(person, instant(int(first)), instant(int(last)), int(events))
        for person, first, last, events in zip(*result.columns, strict=True)
    ]
    return found[:limit], found[limit - 1].person if len(found) > limit else None


async def _answer(context: QueryContext, query: PersonsQuery) -> PersonsResponse:
    result = await context.run(persons_select(query, kept=await context.has_persons()))
    persons, after = read_persons(result, query.limit)
    return PersonsResponse(**context.parts(), persons=persons, next=after)


async def _export(context: QueryContext, query: PersonsQuery) -> StateStatement:
    return context.printed(_select(query, _unchanged, kept=await context.has_persons()))


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
