"""One person: what is known now, and the newest events."""

import datetime
from typing import Any, Final

from schemas.errors import NotFound
from schemas.properties import sent_name
from schemas.queries.lists import PERSON as SPEC
from schemas.queries.lists import EventsQuery, PersonQuery
from services.query.clickhouse.queries import QueryResult
from services.query.clickhouse.tree import (
    Events,
    Expression,
    Person,
    Persons,
    Select,
    Value,
    column,
    sql,
)
from services.query.http.params import instant
from services.query.operators.segment.sql import memberships_statement
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.lists.events import (
    TABLE,
    EventResponse,
    events_select,
    export_select,
    read_events,
)
from services.query.queries.ranges import ALL_TIME
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.queries.stored_json import read_stored

# A person's properties that are read.
_MAX_PROPERTIES: Final = 1_000


class PersonResponse(QueryResponse, frozen=True, kw_only=True):
    """A person.

    `first_seen`, `last_seen` and `total_events` are of all events. `properties` are those that
    events have set last with `$set`, or else first with `$set_once`. `segments` are the ids of
    those that the person is in. `events` are the newest that the query selects; `next` is the next
    page's `after`, null at the end.
    """

    person: str
    first_seen: datetime.datetime
    last_seen: datetime.datetime
    total_events: int
    # By name; each is JSON, which the sender defines.
    properties: dict[str, Any]
    segments: list[str]
    events: list[EventResponse]
    next: str | None


def _is(person: str) -> Expression:
    return sql("{person} = {id}", person=Person(), id=Value(person, "String"))


def seen_select(person: str, *, kept: bool = False) -> Select:
    """Return the query of a person's first and last event, and of their number.

    It reads what the store keeps of persons, if it does (`kept`).
    """
    if kept:
        return Select(
            {
                "first": sql("toUnixTimestamp64Milli(min(first_seen))"),
                "last": sql("toUnixTimestamp64Milli(max(last_seen))"),
                "total": sql("sum(events)"),
            },
            Persons(),
            where=(_is(person),),
        )
    return Select(
        {
            "first": sql("toUnixTimestamp64Milli(min(timestamp))"),
            "last": sql("toUnixTimestamp64Milli(max(timestamp))"),
            "total": sql("count()"),
        },
        Events([ALL_TIME]),
        where=(_is(person),),
    )


def properties_select(person: str, *, kept: bool = False) -> Select:
    """Return the query of what events have set of a person: name, value as JSON, whether once.

    It reads what the store keeps of persons, if it does (`kept`).
    """
    if kept:
        return _kept_properties_select(person)
    pairs = sql(
        "arrayJoin(arrayConcat("
        "arrayMap(one -> (one.1, one.2, 0),"
        " JSONExtractKeysAndValuesRaw(toJSONString(properties.^`$set`))),"
        "arrayMap(one -> (one.1, one.2, 1),"
        " JSONExtractKeysAndValuesRaw(toJSONString(properties.^`$set_once`)))))"
    )
    found = Select(
        {"pair": pairs, "moment": sql("(timestamp, _offset)")},
        Events([ALL_TIME]),
        where=(_is(person),),
    )
    return Select(
        {
            "name": sql("pair.1"),
            "once": sql("pair.3"),
            "set_to": sql("if(once = 1, argMin(pair.2, moment), argMax(pair.2, moment))"),
        },
        found,
        where=(sql("NOT startsWith({value}, {brace})", value=sql("pair.2"), brace=_BRACE),),
        group_by=("name", "once"),
        order_by=(column("name"),),
        limit=_MAX_PROPERTIES,
    )


def _kept_properties_select(person: str) -> Select:
    # The names of values that are no objects begin with an `s` of their own.
    pairs = sql(
        "arrayJoin(arrayConcat("
        "arrayMap((name, one) -> (name, one.3, 0), mapKeys(set_last), mapValues(set_last)),"
        "arrayMap((name, one) -> (name, one.3, 1), mapKeys(set_first), mapValues(set_first))))"
    )
    return Select(
        {
            "name": sql("substring(pair.1, 2)"),
            "once": sql("pair.3"),
            "set_to": sql("pair.2"),
        },
        Select({"pair": pairs}, Persons(), where=(_is(person),)),
        where=(sql("startsWith(pair.1, 's')"),),
        order_by=(column("name"),),
        limit=_MAX_PROPERTIES,
    )


# An object is no value.
_BRACE: Final = Value("{", "String")


def read_properties(result: QueryResult) -> dict[str, Any]:
    """Read the result of a `properties_select`."""
    rows = zip(*result.columns, strict=True)
    ordered = sorted(rows, key=lambda row: -int(row[1]))  # what is set once comes first
    found = {sent_name(name): read_stored(value) for name, _, value in ordered}
    return dict(sorted(found.items()))


def _events_query(query: PersonQuery) -> EventsQuery:
    return EventsQuery(
        where=query.where,
        from_=query.from_,
        to=query.to,
        timezone=query.timezone,
        person=query.person,
        limit=query.limit,
        after=query.after,
    )


async def _seen(context: QueryContext, person: str) -> tuple[int, int, int]:
    """Return the times (ms) of a person's first and last event, and their number."""
    result = await context.run(seen_select(person, kept=await context.has_persons()))
    ((first,), (last,), (total,)) = result.columns
    if not total:
        raise NotFound(f"project {context.project_id} has no event of that person")
    return int(first), int(last), int(total)


async def _export(context: QueryContext, query: PersonQuery) -> StateStatement:
    select = export_select(_events_query(query))
    await _seen(context, query.person)
    return context.printed(select)


async def _answer(context: QueryContext, query: PersonQuery) -> PersonResponse:
    select = events_select(_events_query(query))
    first, last, total = await _seen(context, query.person)
    kept = await context.has_persons()
    properties = await context.run(properties_select(query.person, kept=kept))
    result = await context.run(select)
    events, after = read_events(result, query.limit)
    return PersonResponse(
        **context.parts(),
        person=query.person,
        first_seen=instant(first),
        last_seen=instant(last),
        total_events=total,
        properties=read_properties(properties),
        segments=await _segments(context, query.person),
        events=events,
        next=after,
    )


async def _segments(context: QueryContext, person: str) -> list[str]:
    definitions = sorted(context.project_segments, key=lambda one: one.id)
    if not definitions:
        return []
    result = await context.run_statement(
        lambda source: memberships_statement(source, definitions, context.clock, person)
    )
    return [one.id for one, (is_in,) in zip(definitions, result.columns, strict=True) if is_in]


PERSON: Final = QueryKind(
    SPEC,
    _answer,
    "QueryPerson",
    PersonResponse,
    (PersonQuery, PersonResponse, EventResponse),
    rows=lambda answer: rows_of(answer.events),
    table=TABLE,
    export=_export,
    errors=(404,),
)
